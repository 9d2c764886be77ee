"""One JSON object a line, whatever is in it."""

from __future__ import annotations

import io
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_chatbase.files.formats import json_line, sound_text

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
    assert json.loads(line) == {"value": sound(value)}


def sound(value):
    """Return a value without halves of surrogate pairs, which UTF-8 cannot hold."""
    if isinstance(value, str):
        return sound_text(value)
    if isinstance(value, list):
        return [sound(each) for each in value]
    return {sound(name): sound(each) for name, each in value.items()} if isinstance(value, dict) else value


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
    assert [json.loads(row)["text"] for row in io.BytesIO(rows)] == [sound(text), "next"]
    assert len(rows.decode().splitlines()) == 2


def test_text_is_written_as_itself():
    assert json_line({"text": "héé 🎈"}) == '{"text":"héé 🎈"}\n'.encode()


def test_the_order_of_the_fields_is_kept():
    assert json_line({"b": 1, "a": {"z": 1, "y": 2}}) == b'{"b":1,"a":{"z":1,"y":2}}\n'


def test_half_a_pair_is_a_line_that_other_readers_take(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json_line({"title": "half \ud83d", "\ud83d": [float("nan")]}))
    assert duckdb.sql(f"SELECT title FROM read_json('{path}')").fetchall() == [("half \ufffd",)]
    assert msgspec.json.decode(path.read_bytes()) == {"title": "half \ufffd", "\ufffd": [None]}
