"""Which stretch of time an export covers."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.exports.window import (
    EPOCH,
    Window,
    choose_window,
    ends_now,
    in_utc,
    look_back,
    parse_moment,
    read_moment,
    require_days,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
JANUARY = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
NO_INTERVAL = (None, None)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("start", "end", "interval", "expected"),
    [
        pytest.param("2026-01-01", "2026-02-01", NO_INTERVAL, JANUARY, id="given"),
        pytest.param("2026-01-01", "2026-02-01", (EPOCH, NOW), JANUARY, id="given, before the interval"),
        pytest.param(None, None, JANUARY, JANUARY, id="the run's interval"),
        pytest.param("", "", JANUARY, JANUARY, id="empty parameters mean the run's interval"),
        pytest.param("2026-01-01", None, JANUARY, (JANUARY[0], NOW), id="until now"),
        pytest.param("2026-01-01", "", JANUARY, (JANUARY[0], NOW), id="empty end means until now"),
        pytest.param(None, "2026-02-01", JANUARY, (EPOCH, JANUARY[1]), id="from the beginning"),
        pytest.param(*JANUARY, NO_INTERVAL, JANUARY, id="as datetimes"),
        pytest.param(date(2026, 1, 1), date(2026, 2, 1), NO_INTERVAL, JANUARY, id="as dates"),
    ],
)
def test_the_window_that_is_chosen(start, end, interval, expected):
    window = choose_window(start, end, interval, NOW)
    assert (window.start, window.end) == expected


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-02-01", "2026-01-01"),
        ("2026-01-01", "2026-01-01"),
        ("2027-01-01", None),
        ("2026-01-01T00:00:00+02:00", "2025-12-31T22:00:00Z"),
        (None, "1969-12-31"),
    ],
    ids=[
        "inverted",
        "empty",
        "from the future until now",
        "the same moment in two zones",
        "before the epoch",
    ],
)
def test_an_end_that_is_not_after_the_start_is_refused(start, end):
    with pytest.raises(ChatbaseInputError, match=r"is not after its start .+ Nothing was exported\.$"):
        choose_window(start, end, JANUARY, NOW)


def test_every_bound_is_a_whole_second_so_that_windows_meet_where_the_api_counts():
    late = NOW.replace(microsecond=900_000)
    assert choose_window("2026-01-01", None, NO_INTERVAL, late).end == NOW
    interval = (JANUARY[0].replace(microsecond=1), late)
    window = choose_window(None, None, interval, late)
    assert (window.start, window.end) == (JANUARY[0], NOW)


@pytest.mark.parametrize(
    "interval",
    [NO_INTERVAL, (NOW, None), (None, NOW), (NOW, NOW), JANUARY[::-1]],
    ids=["none", "no end", "no start", "empty", "inverted"],
)
def test_a_run_without_an_interval_is_told_what_to_give(interval):
    with pytest.raises(ChatbaseInputError, match=r"this run has no data interval, .+ Give start and end"):
        choose_window(None, None, interval, NOW)


@pytest.mark.parametrize(
    ("interval", "watermark", "first_start", "expected"),
    [
        pytest.param(JANUARY, NOW - DAY, "2020-01-01", JANUARY, id="the interval comes first"),
        pytest.param(NO_INTERVAL, NOW - DAY, "2020-01-01", (NOW - DAY, NOW), id="then the watermark"),
        pytest.param((NOW, NOW), NOW - DAY, None, (NOW - DAY, NOW), id="an empty interval is none"),
        pytest.param(NO_INTERVAL, None, "2026-01-01", (JANUARY[0], NOW), id="then the first start"),
        pytest.param(NO_INTERVAL, None, date(2026, 1, 1), (JANUARY[0], NOW), id="as a date"),
    ],
)
def test_the_window_of_a_run_that_is_given_none(interval, watermark, first_start, expected):
    window = choose_window(None, "", interval, NOW, watermark, first_start)
    assert (window.start, window.end) == expected


@pytest.mark.parametrize("watermark", [NOW, NOW + DAY])
def test_there_is_no_window_where_all_was_exported(watermark):
    assert choose_window(None, None, NO_INTERVAL, NOW, watermark) is None


@pytest.mark.parametrize(
    ("start", "end", "interval", "expected"),
    [
        ("2026-01-01", None, NO_INTERVAL, True),
        ("2026-01-01", "2026-02-01", NO_INTERVAL, False),
        (None, None, JANUARY, False),
        (None, None, NO_INTERVAL, True),
        (None, "2026-02-01", NO_INTERVAL, False),
    ],
)
def test_which_windows_end_at_the_present(start, end, interval, expected):
    assert ends_now(start, end, interval) is expected


def test_looking_back_begins_with_a_day():
    assert look_back(Window(NOW, NOW + DAY), 2 * DAY) == Window(datetime(2026, 2, 27, tzinfo=UTC), NOW + DAY)


@pytest.mark.parametrize(
    "window",
    [Window(NOW, NOW + DAY), Window(NOW - DAY / 2, NOW), Window(NOW, NOW + DAY / 2)],
    ids=["neither", "the end", "the start"],
)
def test_a_window_that_is_not_whole_days_is_refused(window):
    with pytest.raises(ChatbaseInputError, match=r"replaces whole days .+ output_path"):
        require_days(window)


PLUS_TWO = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        (" 2026-01-31 ", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31 12:00:00.999999", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31 12:00:00.25", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        (date(2026, 1, 31), datetime(2026, 1, 31, tzinfo=UTC)),
        (datetime(2026, 1, 31, 12), datetime(2026, 1, 31, 12, tzinfo=UTC)),  # noqa: DTZ001
        (datetime(2026, 1, 31, 12, tzinfo=PLUS_TWO), datetime(2026, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_moments(value, expected):
    moment = parse_moment("start", value)
    assert moment == expected
    assert moment.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "value",
    [
        "yesterday",
        "2026-13-01",
        "None",
        "{{ ds }}",
        "31.01.2026",
        1767225600,
        True,
        [],
        "9999-12-31T23:59:59-02:00",
        "0001-01-01T00:00:00+02:00",
    ],
    ids=repr,
)
def test_what_is_no_moment_is_refused_in_one_sentence(value):
    with pytest.raises(ChatbaseInputError, match=r"^end .+ Nothing was exported\.$"):
        parse_moment("end", value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1_767_225_600, JANUARY[0]),
        (1_767_225_600.5, JANUARY[0] + timedelta(seconds=0.5)),
        (1_767_225_600_000, JANUARY[0]),
        ("2026-01-01T00:00:00.000Z", JANUARY[0]),
        ("2026-01-01T02:00:00+02:00", JANUARY[0]),
        ("2026-01-01", JANUARY[0]),
        (0, EPOCH),
        (None, None),
        (True, None),
        ("", None),
        ("soon", None),
        ("9999-12-31T23:59:59-02:00", None),
        (1e300, None),
        (float("nan"), None),
        ([], None),
    ],
    ids=repr,
)
def test_times_of_the_api(value, expected):
    assert read_moment(value) == expected


WINDOW = Window(*JANUARY)
START, END = 1_767_225_600, 1_769_904_000


@pytest.mark.parametrize(
    ("created_at", "inside"),
    [
        pytest.param(START - 1, False, id="the second before"),
        pytest.param(START, True, id="the first second"),
        pytest.param(END - 1, True, id="the last second"),
        pytest.param(END - 0.001, True, id="the last millisecond"),
        pytest.param(END, False, id="the end itself"),
        pytest.param(END * 1000 - 1, True, id="the last millisecond, in milliseconds"),
        pytest.param(END * 1000, False, id="the end itself, in milliseconds"),
        pytest.param(None, True, id="unknown, so the API's filter decides"),
        pytest.param("soon", True, id="no time, so the API's filter decides"),
    ],
)
def test_the_window_holds_its_start_and_not_its_end(created_at, inside):
    assert WINDOW.holds(created_at) is inside


@given(
    created_at=st.integers(START, START + 1000),
    cuts=st.lists(st.integers(START, START + 1000), min_size=2, unique=True).map(sorted),
)
def test_windows_side_by_side_hold_each_moment_once(created_at, cuts):
    bounds = [START - 1, *(cut for cut in cuts if cut > START - 1), START + 1001]
    moments = [EPOCH + timedelta(seconds=bound) for bound in bounds]
    holding = [Window(a, b).holds(created_at) for a, b in pairwise(moments) if a < b]
    assert sum(holding) == 1


def test_the_window_as_json():
    assert WINDOW.as_json() == {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"}


def test_in_utc_keeps_fractions():
    assert in_utc(datetime(2026, 1, 1, 2, 0, 0, 5000, tzinfo=PLUS_TWO)) == "2026-01-01T00:00:00.005000Z"
