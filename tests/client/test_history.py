"""The history that API v1 wants: what is read, and what is left out when it is long."""

from __future__ import annotations

import pytest

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.question import chars_of, read_history, trim_history

TALK = [
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Yes, one."},
    {"role": "user", "content": "Two?"},
    {"role": "assistant", "content": "Yes, two."},
]


@pytest.mark.parametrize(
    "given",
    [TALK, tuple(TALK), {"history": TALK, "text": "x"}, [{**each, "id": "m"} for each in TALK]],
    ids=["list", "tuple", "an earlier result", "other fields"],
)
def test_reads_the_messages(given):
    assert read_history(given) == TALK


@pytest.mark.parametrize("nothing", [None, [], {}, {"history": None}], ids=str)
def test_reads_none(nothing):
    assert read_history(nothing) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("Hello", "not str"),
        (7, "not int"),
        ({"history": "Hello"}, "not str"),
        (["Hello"], r"history\[0\]"),
        ([TALK[0], {"role": "system", "content": "x"}], r"history\[1\]"),
        ([{"role": "user"}], r"history\[0\]"),
        ([{"role": "user", "content": ["parts"]}], r"history\[0\]"),
        ([{"role": ["user"], "content": "x"}], r"history\[0\]"),
    ],
    ids=str,
)
def test_refuses_what_is_none(wrong, words):
    with pytest.raises(ChatbaseInputError, match=words) as raised:
        read_history(wrong)
    assert "Hello" not in str(raised.value)


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({}, 4),
        ({"max_messages": 4, "max_chars": 26}, 4),
        ({"max_messages": 3}, 3),
        ({"max_chars": 25}, 3),
        ({"max_chars": 22}, 3),
        ({"max_chars": 21}, 2),
        ({"max_chars": 8}, 0),
        ({"max_messages": 0}, 0),
        ({"max_chars": 0}, 0),
    ],
    ids=str,
)
def test_keeps_the_newest_whole_messages(limits, kept):
    assert trim_history(TALK, **limits) == TALK[len(TALK) - kept :]


def test_counts_characters():
    assert (chars_of(TALK), chars_of([])) == (26, 0)


@pytest.mark.parametrize("limit", [-1, "5", True, 2.5, None], ids=repr)
@pytest.mark.parametrize("name", ["max_messages", "max_chars"])
def test_refuses_limits_that_are_none(name, limit):
    with pytest.raises(ChatbaseInputError, match="must be a whole number"):
        trim_history(TALK, **{name: limit})
