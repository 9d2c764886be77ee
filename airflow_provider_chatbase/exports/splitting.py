"""Into which parts a window is cut, so that they can be read at the same time."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

from airflow_provider_chatbase.exports.window import Window, floor_day, whole_second

MOST_IN_PART = 480
LEAST_IN_PART = 60
TOLERANCE = 1.25
"""How much bigger than wanted a part may be before it is cut again: the pieces are never quite even."""

FIRST_PIECES = 16
MOST_PIECES = 64
"""
Into how many pieces to cut at one time, at most: first, when nothing is known of how conversations are spread
over the window, and later. Where a piece is full, it is cut again.
"""


def part_size(total: int, concurrency: int) -> int:
    """
    Return how many conversations a part should have.

    Every part costs about half a page more, so they are few; who is done takes over from the others.
    """
    return min(max(2 * total // concurrency, LEAST_IN_PART), MOST_IN_PART)


def split_evenly(
    window: Window, total: int, wanted: int, newest: datetime | None, most_pieces: int = MOST_PIECES
) -> list[Window]:
    """Cut a window into pieces of equal time."""
    top = window.end
    if newest is not None and window.start < newest < window.end:
        top = min(whole_second(newest) + timedelta(seconds=1), window.end)
    seconds = int((top - window.start).total_seconds())
    count = min(-(-total // wanted), most_pieces, seconds)
    if count < 2:
        return [window]
    cuts = [window.start + timedelta(seconds=seconds * number // count) for number in range(count)]
    return [Window(*bounds) for bounds in pairwise([*cuts, window.end])][::-1]


def middle(start: datetime, oldest: datetime | None) -> datetime | None:
    """Return where to cut what lies before the oldest conversation that was read."""
    if oldest is None:
        return None
    cut = whole_second(start + (oldest - start) / 2)
    return cut if start < cut <= oldest else None


def split_by_days(window: Window, most_pieces: int, most_days: int) -> list[Window]:
    """Cut a window at midnights, for an API that knows only days."""
    days = (window.end - floor_day(window.start)).days + 1
    step = timedelta(days=max(1, min(-(-days // most_pieces), most_days)))
    cuts = [window.start]
    while (cut := floor_day(cuts[-1]) + step) < window.end:
        cuts.append(cut)
    return [Window(*bounds) for bounds in pairwise([*cuts, window.end])][::-1]
