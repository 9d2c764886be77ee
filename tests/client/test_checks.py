"""Limits that are checked before anything is sent."""

from __future__ import annotations

import pytest

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.request import (
    require_object,
    require_page_limit,
    require_text,
    require_user_id,
)


@pytest.mark.parametrize("value", ["x", " x ", "\u00a0x", "🎈", "x" * 10])
def test_text(value):
    assert require_text("message", value, longest=10) == value


@pytest.mark.parametrize("value", ["", " ", "\n\t", "\u00a0", "\u2003"], ids=repr)
def test_blank_text_is_refused(value):
    with pytest.raises(ChatbaseInputError, match=r"^message is empty\. Nothing was sent\.$"):
        require_text("message", value)


@pytest.mark.parametrize("value", [None, 7, b"x", ["x"], {"x": 1}], ids=repr)
def test_other_kinds_are_refused(value):
    with pytest.raises(ChatbaseInputError, match=r"^message must be text, not \w+\. Nothing was sent\.$"):
        require_text("message", value)


def test_too_long_a_text_is_refused():
    with pytest.raises(ChatbaseInputError, match="has 1,001 characters; Chatbase takes at most 1,000"):
        require_text("name", "x" * 1001, longest=1000)


@pytest.mark.parametrize("value", [1, 20])
def test_page_limit(value):
    assert require_page_limit(value, 20) == value


@pytest.mark.parametrize("value", [0, -1, 21, 1.0, "5", True, None], ids=repr)
def test_page_limit_out_of_range(value):
    with pytest.raises(ChatbaseInputError, match="a whole number from 1 to 20"):
        require_page_limit(value, 20)


@pytest.mark.parametrize("value", ["a", "A-Z_0.9", "x" * 128])
def test_user_id(value):
    assert require_user_id(value) == value


@pytest.mark.parametrize(
    "value",
    ["", "x" * 129, "ann@example.com", "with space", "ünder", "new\nline", "end\n", None, 7],
    ids=repr,
)
def test_user_id_with_other_characters(value):
    with pytest.raises(ChatbaseInputError, match="1 to 128 letters"):
        require_user_id(value)


def test_object_is_a_copy():
    value = {"a": 1}
    assert require_object("settings", value) == value
    assert require_object("settings", value) is not value


@pytest.mark.parametrize("value", [None, [], "x", {1: 2}], ids=repr)
def test_what_is_no_object_is_refused(value):
    with pytest.raises(ChatbaseInputError, match="settings must be a dict with text keys"):
        require_object("settings", value)
