"""Into which parts a window is cut, so that they can be read at the same time."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

from airflow_provider_chatbase.exports.window import Window, floor_day, whole_second

MOST_IN_PART = 320
LEAST_IN_PART = 60
TOLERANCE = 1.5
"""How much bigger than wanted a part may be before it is worth a request to cut it again."""

FAN_OUT = 16
"""Most pieces at one time. Conversations are rarely spread evenly: where a piece is full, it is cut again."""


def part_size(remaining: int, concurrency: int) -> int:
    """
    Return how many conversations a part should have.

    The less there is left, the smaller: else a few walkers have many pages left when the others are done.

    :param remaining: how many conversations lie in no part yet.
    :param concurrency: how many parts are read at the same time.
    """
    return min(max(remaining // (2 * concurrency), LEAST_IN_PART), MOST_IN_PART)


def split_evenly(window: Window, total: int, wanted: int, newest: datetime | None) -> list[Window]:
    """
    Cut a window into pieces of equal time.

    :param window: the window.
    :param total: how many conversations it has.
    :param wanted: how many a piece should have.
    :param newest: when the newest of them was created, where that is known.
    :return: the pieces, newest first; one only, where it cannot be cut.
    """
    top = window.end
    if newest is not None and window.start < newest < window.end:
        top = min(whole_second(newest) + timedelta(seconds=1), window.end)
    seconds = int((top - window.start).total_seconds())
    count = min(-(-total // wanted), FAN_OUT, seconds)
    if count < 2:
        return [window]
    cuts = [window.start + timedelta(seconds=seconds * number // count) for number in range(count)]
    return [Window(*bounds) for bounds in pairwise([*cuts, window.end])][::-1]


def split_by_days(window: Window, most_pieces: int, most_days: int) -> list[Window]:
    """
    Cut a window at midnights, for an API that knows only days.

    :param window: the window.
    :param most_pieces: how many pieces are wanted.
    :param most_days: how long a piece may be, even if there are more pieces then.
    :return: the pieces, newest first.
    """
    days = (window.end - floor_day(window.start)).days + 1
    step = timedelta(days=max(1, min(-(-days // most_pieces), most_days)))
    cuts = [window.start]
    while (cut := floor_day(cuts[-1]) + step) < window.end:
        cuts.append(cut)
    return [Window(*bounds) for bounds in pairwise([*cuts, window.end])][::-1]
