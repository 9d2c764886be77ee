from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.sync.payloads import (
    NAME_LENGTH,
    LinkPayload,
    read_name,
    require_sync_id,
    source_name,
    utf16_length,
)

DIGEST = "0123456789abcdef" * 4


def test_a_name_says_whose_what_and_which_version():
    name = str(source_name("docs", "guides/setup.md", DIGEST))
    assert name == "docs:guides/setup.md #0123456789ab"
    found = read_name(name)
    assert (found.sync_id, found.key, found.digest) == ("docs", "guides/setup.md", "0123456789ab")


@pytest.mark.parametrize("name", [None, "", "Opening hours", "docs:a", "docs:a #xyz", "a #0123456789ab"])
def test_other_names_are_not_ours(name):
    assert read_name(name) is None


@given(st.text(min_size=1), st.sampled_from(["docs", "d", "ü" * 40]))
def test_every_key_makes_a_name_that_fits_and_can_be_read_back(key, sync_id):
    name = source_name(sync_id, key, DIGEST)
    assert utf16_length(str(name)) <= NAME_LENGTH
    assert read_name(str(name)) == name
    assert not any(ord(character) < 32 for character in str(name))


def test_long_keys_that_differ_only_in_what_is_cut_off_stay_apart():
    names = {source_name("docs", f"{letter}/" + "x" * 200, DIGEST).key for letter in "ab"}
    assert len(names) == 2


@pytest.mark.parametrize("sync_id", ["", " ", "a:b", "a#b", "a\nb", "x" * 41, None, "a "])
def test_sync_ids_that_cannot_stand_in_a_name(sync_id):
    with pytest.raises(ChatbaseInputError, match="sync_id"):
        require_sync_id(sync_id)


@pytest.mark.parametrize("sync_id", ["airflow", "a", "Data Team, Ops", "Größe"])
def test_sync_ids_that_can(sync_id):
    assert require_sync_id(sync_id) == sync_id


@given(st.text(min_size=1), st.sampled_from(["docs", "ü" * 40]))
def test_a_name_tells_the_task_where_there_is_room(key, sync_id):
    name = source_name(sync_id, key, DIGEST, "7c1e")
    assert utf16_length(str(name)) <= NAME_LENGTH
    plain = source_name(sync_id, key, DIGEST)
    assert read_name(str(name)) in (name, plain)
    assert str(source_name("docs", "a.md", DIGEST, "7c1e")) == "docs:a.md #0123456789ab/7c1e"


@pytest.mark.parametrize(
    ("options", "metadata", "expected"),
    [
        ({"excludePaths": ["/b", "/a"]}, {"excludePaths": ["/a", "/b"]}, False),
        ({"excludePaths": []}, {"excludePaths": None}, False),
        ({"slowScraping": False}, {"slowScraping": None}, False),
        ({"slowScraping": False}, {}, False),
        ({"slowScraping": True}, {"slowScraping": False}, True),
        ({"excludePaths": ["/a"]}, {"excludePaths": []}, True),
        ({"excludePaths": ["/a"]}, {"excludePaths": [["/a"]]}, True),
        ({"excludePaths": ["/a"]}, {"excludePaths": 7}, True),
    ],
)
def test_options_of_a_link_differ_where_their_effect_does(options, metadata, expected):
    assert LinkPayload("https://a.example", "crawl", options).differs_from(metadata) is expected
