"""One JSON object a line, whatever is in it."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_chatbase.files.formats import json_line

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(blacklist_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_any_value_comes_back_from_exactly_one_line(value):
    line = json_line({"value": value})
    assert line.endswith(b"\n")
    assert len(line.decode().splitlines()) == 1, "some readers end a line at characters that JSON allows"
    assert json.loads(line) == {"value": value}


@pytest.mark.parametrize(
    "text",
    [
        "line\nend",
        "carriage\r\nreturn",
        "next\u0085line",
        "line\u2028separator",
        "paragraph\u2029separator",
        "vertical\x0btab and form\x0cfeed",
        "file\x1cgroup\x1drecord\x1e",
        "half a pair \ud83d",
        "nul \x00",
        '"quotes" and \\backslashes\\',
        "العربية עברית \u202etfel",
        "👩‍👩‍👧‍👦",
    ],
    ids=ascii,
)
def test_odd_text_stays_in_its_row(text):
    rows = json_line({"text": text}) + json_line({"text": "next"})
    assert [json.loads(row)["text"] for row in io.BytesIO(rows)] == [text, "next"]
    assert len(rows.decode().splitlines()) == 2


def test_text_is_written_as_itself():
    assert json_line({"text": "héé 🎈"}) == '{"text":"héé 🎈"}\n'.encode()


def test_the_order_of_the_fields_is_kept():
    assert json_line({"b": 1, "a": {"z": 1, "y": 2}}) == b'{"b":1,"a":{"z":1,"y":2}}\n'
