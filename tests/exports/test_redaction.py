"""What is to be hidden is in no file, no staged part and no log."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.exports.redaction import Redaction, detect, read_redaction
from airflow_provider_chatbase.exports.rows import rows_of
from airflow_provider_chatbase.exports.staging import Staging


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to Ann.Lee+x@mail.example.co.uk, please", "Write to [email], please"),
        ("über@bücher.example", "[email]"),
        ("+49 151 0001234", "[phone]"),
        ("Call (555) 123-4567 or 00491510001234.", "Call [phone] or [phone]."),
        ("030/1234567", "[phone]"),
        ("+1-555-123-4567", "[phone]"),
        ("Order #12345 of 2026-01-31", "Order #12345 of 2026-01-31"),
        ("It costs 1,250.00 and takes 14 days", "It costs 1,250.00 and takes 14 days"),
        ("room 12, 4 people", "room 12, 4 people"),
        ("@somebody", "@somebody"),
        ('"ann lee"@example.com', "[email]"),
        ("https://x.example/?m=ann%40example.com", "https://x.example/?m=[email]"),
        ("ann&#64;example.com, ann\uff20example.com", "[email], [email]"),
        ("ann@[192.168.0.1]", "[email]"),
        ("ann@exam\u2010ple.com", "[email]"),
        ("+49\u2011151\u20110001234 or +49\u00a0151\u200b0001234", "[phone] or [phone]"),
        ("+49 (0) 151 / 0001234", "[phone]"),
        (
            "rene\u0301@exe\u0301mple.com, \u0928\u092e\u0938\u094d\u0924\u0947@example.com",
            "[email], [email]",
        ),
        ("an\u00adn\u200b@\u200bexam\u00adple.com", "[email]"),
        ("ann&#x40;example.com ann%2540example.com ann\\u0040example.com", "[email] [email] [email]"),
        (
            "555-123-4567x89, +1 555 123 4567ext. 3, +49 151 0001234Mail",
            "[phone]x89, [phone]ext. 3, [phone]Mail",
        ),
        ("{ann}@example.com", "{[email]"),
        ("4111 1111 1111 1111, 4111111111111111", "[card], [card]"),
        ("DE89 3704 0044 0532 0130 00 OR gb29nwbk60161331926819", "[iban] OR [iban]"),
        ("Call 030/1234567 4711 0815", "Call [phone]"),
    ],
)
def test_detectors(text, expected):
    assert detect(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "31.01.2026 10:30, 2026/01/31 10:30:00, 1/31/2026 and 2026-01-31T10:30:00Z",
        "31.12.2025 - 05.01.2026, 31.12.2025-05.01.2026, 2026-01-31/2026-02-28, 2026-01-31 2026-02-01",
        "open 9.00-17.00, 10:30 - 11:45",
        "12.345.678,90 EUR, $1,234,567.89, 1 234 567.00, 12345678.50",
        "ticket 550e8400-e29b-41d4-a716-446655440000 of 4711 2026-01-31",
        "snowflake 1234567890123456789",
    ],
)
def test_what_a_report_needs_stays(text):
    assert detect(text) == text


@given(st.from_regex(r"[a-z]{1,8}@[a-z]{2,8}\.(com|de)", fullmatch=True), st.text(max_size=20))
def test_an_address_in_any_text_is_found(address, text):
    assert address not in detect(f"{text} {address} {text}")


CONVERSATION = {
    "id": "c4915112345678",
    "userId": "ann",
    "title": "ann@example.com",
    "source": "API",
    "note": "call +49 151 0001234",
    "messages": [
        {
            "id": "m1",
            "role": "user",
            "parts": [
                {"type": "text", "text": "ann@example.com"},
                {"type": "tool-result", "toolCallId": "t1", "output": {"mail": ["ann@example.com"]}},
            ],
        }
    ],
}


def redacted(actions, salt="s"):
    before = json.dumps(CONVERSATION)
    result = read_redaction(actions, salt).apply(CONVERSATION)
    assert json.dumps(CONVERSATION) == before
    return result


def test_columns():
    result = redacted({"user_id": "hash", "title": "drop", "text": "detect", "output": "mask"})
    assert result["userId"] == Redaction({}, "s").hashed("ann")
    assert result["title"] is None
    assert result["messages"][0]["parts"][0]["text"] == "[email]"
    assert result["messages"][0]["parts"][1]["output"] == "***"
    assert result["note"] == CONVERSATION["note"]


def test_every_text():
    result = redacted({"*": "detect"})
    assert "ann@example.com" not in json.dumps(result)
    assert result["note"] == "call [phone]"
    assert result["id"] == CONVERSATION["id"]
    assert result["userId"] == "ann"


@pytest.mark.parametrize(
    "value",
    [
        {"mail": [[["ann@example.com"]]]},
        {"ann@example.com": 1},
        {"phone": 4915112345678},
        {"status": "ann@example.com", "type": {"role": "+49 151 0001234"}},
        {"id": "ann@example.com", "createdAt": ["ann@example.com"]},
    ],
    ids=["nested lists", "keys", "numbers", "names of our own", "ids that are not the API's"],
)
def test_every_text_is_wherever_it_may_be(value):
    found = {"id": "c1", "messages": [{"id": "m1", "parts": [{"type": "tool-result", "output": value}]}]}
    hidden = json.dumps(read_redaction({"*": "detect"}, None).apply(found))
    assert "example.com" not in hidden
    assert "151" not in hidden


def test_two_keys_that_are_hidden_stay_two():
    found = {"id": "c1", "note": {"ann@example.com": 1, "bob@example.com": 2}}
    assert read_redaction({"*": "detect"}, None).apply(found)["note"] == {"[email]": 1, "[email] 2": 2}


@pytest.mark.parametrize("name", ["usre_id", "conversation_id", "message_id", "country"])
def test_a_name_that_nothing_is_hidden_by_is_refused(name):
    with pytest.raises(ChatbaseInputError, match=f"'{name}' is nothing that can be hidden in conversations"):
        read_redaction({name: "drop"}, None)


def test_a_hash_needs_a_salt_that_is_one():
    with pytest.raises(ChatbaseInputError, match="a hash needs redact_salt"):
        read_redaction({"user_id": "hash"}, "  ")


def test_raw_is_every_field_without_a_column():
    found = {
        **CONVERSATION,
        "messages": [{**CONVERSATION["messages"][0], "metadata": {"score": 1, "model": "x"}}],
    }
    dropped = read_redaction({"raw": "drop"}, None).apply(found)
    assert set(found) - set(dropped) == {"note"}
    assert dropped["messages"][0]["metadata"] == {"score": 1}
    assert rows_of("conversations", dropped, "a")["conversations"][0][-1] is None
    assert read_redaction({"raw": "mask"}, None).apply(found)["note"] == "***"


def test_the_texts_of_all_kinds_of_parts_are_texts():
    found = {"id": "c1", "messages": [{"role": "user", "parts": [{"type": "reasoning", "text": "secret"}]}]}
    assert "secret" not in json.dumps(read_redaction({"text": "drop"}, None).apply(found))


@pytest.mark.parametrize(
    "piece", ["a", "@", "a@", "a.", "a@b.", "1 ", "1-", "(", "%40", '"@', "+49 151 ", "x@a.a.a", "&#64;"]
)
def test_the_time_grows_with_the_length_and_not_faster(piece):
    def seconds(length: int) -> float:
        text = piece * (length // len(piece))
        return min(timed(lambda: detect(text)) for _ in range(3))

    assert seconds(160_000) < 40 * seconds(10_000) + 0.05


def timed(work) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def test_a_hash_depends_on_the_salt_and_stays_the_same():
    one, other = redacted({"user_id": "hash"}, "one"), redacted({"user_id": "hash"}, "other")
    assert one["userId"] != other["userId"]
    assert one == redacted({"user_id": "hash"}, "one")
    assert "ann" not in one["userId"]


@pytest.mark.parametrize("file_format", ["jsonl", "csv", "parquet"])
def test_nothing_hidden_is_ever_written(exports, year, caplog, monkeypatch, file_format):
    caplog.set_level("DEBUG", "airflow_provider_chatbase")
    export = exports(conversations=200)
    found = export.simulator.store.conversations(export.simulator.agent_id)
    texts = " ".join(message.text for each in found for message in each.messages)
    assert "@example.com" in texts
    assert "+49 151" in texts
    users = {each.user_id for each in found if each.user_id}
    staged: list[bytes] = []
    finish = Staging.finish_part
    monkeypatch.setattr(
        "airflow_provider_chatbase.exports.staging.Staging.finish_part",
        lambda self, *args: (part := finish(self, *args), staged.append(Path(part.path).read_bytes()))[0],
    )
    redaction = read_redaction({"*": "detect", "user_id": "hash"}, "salt")
    export.run(year, redaction=redaction, file_format=file_format)
    written = b"".join([*staged, *export.everything().values(), caplog.text.encode()])
    assert staged
    assert b"@example.com" not in written
    assert b"+49 151" not in written
    if file_format == "jsonl":
        hashes = {each["userId"] for each in export.objects() if each["userId"]}
        assert hashes == {redaction.hashed(each) for each in users}
    [manifest] = export.manifests()
    assert manifest["redacted"] == {"*": "detect", "user_id": "hash"}
