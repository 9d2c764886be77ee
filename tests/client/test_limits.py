"""How long a reply asks to wait."""

from __future__ import annotations

import pytest

from airflow_provider_chatbase.client.rate_limiter import asked_wait

NOW = 1_800_000_000.0
IN_HTTP = "Fri, 15 Jan 2027 08:00:30 GMT"  # 30 s after NOW


def wait(headers: dict[str, str], now: float = NOW) -> float | None:
    return asked_wait(headers, now, rate_limited=True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("5", 5.0, id="whole seconds"),
        pytest.param("0.5", 0.5, id="a fraction"),
        pytest.param(" 7 ", 7.0, id="spaces around"),
        pytest.param("0", 0.0, id="at once"),
        pytest.param("-3", 0.0, id="negative means at once"),
        pytest.param("86400", 86400.0, id="a day, which the policy caps"),
        pytest.param(IN_HTTP, 30.0, id="an HTTP date"),
        pytest.param("Fri, 15 Jan 2027 07:59:00 GMT", 0.0, id="an HTTP date in the past"),
        pytest.param("Fri, 15 Jan 2027 09:00:30 +0100", 30.0, id="a date with an offset"),
        pytest.param("Fri, 15 Jan 2027 08:00:30 -0000", 30.0, id="a date of an unknown zone is UTC"),
        pytest.param("soon", None, id="a word"),
        pytest.param("", None, id="empty"),
        pytest.param("nan", None, id="not a number"),
        pytest.param("inf", None, id="for ever"),
        pytest.param("1e999", None, id="too large for a float"),
        pytest.param("5 seconds", None, id="number and word"),
        pytest.param("Fri, 32 Jan 2027 08:00:30 GMT", None, id="no date"),
    ],
)
def test_retry_after(value, expected):
    assert wait({"retry-after": value}) == expected
    assert asked_wait({"retry-after": value}, NOW, rate_limited=False) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("1800000004", 4.0, id="seconds"),
        pytest.param("1800000004.5", 4.5, id="seconds with a fraction"),
        pytest.param("1800000004500", 4.5, id="milliseconds"),
        pytest.param("1799999999", None, id="seconds in the past"),
        pytest.param("1799999999000", None, id="milliseconds in the past"),
        pytest.param("1800000000", None, id="just now"),
        pytest.param("12", None, id="seconds from now, which no source promises"),
        pytest.param("-1", None, id="negative"),
        pytest.param("tomorrow", None, id="a word"),
        pytest.param("", None, id="empty"),
        pytest.param("nan", None, id="not a number"),
    ],
)
def test_rate_limit_reset(value, expected):
    assert wait({"x-ratelimit-reset": value}) == expected


def test_the_unit_of_reset_is_told_by_its_size():
    border = 1e11  # as seconds the year 5138, as milliseconds 1973
    assert wait({"x-ratelimit-reset": str(border - 1)}) == pytest.approx(border - 1 - NOW)
    assert wait({"x-ratelimit-reset": str(border)}, 0.0) == pytest.approx(border / 1000)


def test_retry_after_goes_before_reset():
    assert wait({"retry-after": "2", "x-ratelimit-reset": "1800000009"}) == 2.0


def test_reset_stands_in_for_a_retry_after_that_cannot_be_read():
    assert wait({"retry-after": "soon", "x-ratelimit-reset": "1800000009"}) == 9.0


def test_reset_says_nothing_of_another_failure():
    assert asked_wait({"x-ratelimit-reset": "1800000009"}, NOW, rate_limited=False) is None


def test_a_reply_without_these_headers_asks_for_nothing():
    assert wait({"x-ratelimit-limit": "1000"}) is None
