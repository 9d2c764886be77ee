"""What is given to an export as text, what it waits for, and what it says at its end."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from delta_lake import rows as delta_rows

from airflow_provider_chatbase.exceptions import ChatbasePermanentError
from airflow_provider_chatbase.exports.window import floor_day
from airflow_provider_chatbase.files.delta_storage import find_storage
from airflow_provider_chatbase.operators import export_base
from airflow_provider_chatbase.operators.exports import (
    ChatbaseEraseConversationsOperator,
    ChatbaseExportConversationsOperator,
)
from airflow_provider_chatbase.simulator import Fault, Simulator

TODAY, DAY = floor_day(datetime.now(tz=UTC)), timedelta(days=1)
pytestmark = pytest.mark.usefixtures("airflow_db")


@pytest.fixture
def simulator():
    with Simulator(conversations=60, months=1) as running:
        yield running


@pytest.fixture
def run(simulator, monkeypatch, tmp_path):
    def execute(cls: Any = ChatbaseExportConversationsOperator, **arguments: Any) -> dict[str, Any]:
        connection = {"conn_type": "chatbase", "host": simulator.url, "password": simulator.api_key}
        monkeypatch.setenv("AIRFLOW_CONN_CHATBASE_DEFAULT", json.dumps(connection))
        if cls is ChatbaseExportConversationsOperator:
            arguments = {"agent_id": simulator.agent_id, "start": TODAY - 60 * DAY, "end": TODAY, **arguments}
        arguments = {"output_path": f"file://{tmp_path}/out", **arguments}
        return cls(task_id="task", **arguments).execute({})

    return execute


def rows(path: Path) -> list[dict[str, Any]]:
    [file] = (path / "conversations").rglob("*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("concurrency", "many"),
        ("concurrency", True),
        ("concurrency", "0"),
        ("margin", "-1"),
        ("margin", "nan"),
        ("csv_bom", "yes"),
        ("escape_formulas", 1),
        ("optimize", "0"),
        ("vacuum_days", [7]),
        ("remove_missing", "no"),
    ],
)
def test_what_is_no_flag_and_no_number_is_refused(run, simulator, tmp_path, name, value):
    with pytest.raises(Exception, match=f"{name} must be") as raised:
        run(**{name: value})
    assert "\n" not in str(raised.value)
    assert not simulator.requests
    assert not (tmp_path / "out").exists()


def test_flags_and_numbers_may_be_text(run, tmp_path):
    run(concurrency="2", margin="0", csv_bom="True", escape_formulas="false", file_format="csv")
    [file] = (tmp_path / "out/conversations").rglob("*.csv")
    assert file.read_bytes().startswith(b"\xef\xbb\xbf")
    assert json.loads((tmp_path / "out/_output.json").read_text())["contents"]["csv"] == {
        "escape_formulas": False,
        "null": "",
        "bom": True,
    }


@pytest.mark.parametrize(
    "given",
    [
        {"csv_null": "NULL"},
        {"csv_bom": True},
        {"escape_formulas": False},
        {"optimize": False},
        {"file_format": "delta", "csv_null": "NULL"},
    ],
    ids=str,
)
def test_what_would_have_no_effect_is_refused(run, simulator, given):
    with pytest.raises(Exception, match=r" are for file_format='(csv|delta)'\."):
        run(**given)
    assert not simulator.requests


@pytest.mark.parametrize(("given", "erased"), [("False", 0), ("true", 1)])
def test_the_flags_of_the_erasing_too(run, simulator, given, erased):
    run()
    one = simulator.store.conversations(simulator.agent_id)[0].id
    report = run(ChatbaseEraseConversationsOperator, conversation_ids=[one], at_source=given, max_deletes="1")
    assert report["deleted_at_source"] == (erased or None)
    assert (one in {each.id for each in simulator.store.conversations(simulator.agent_id)}) is not erased
    with pytest.raises(Exception, match="at_source must be true or false"):
        run(ChatbaseEraseConversationsOperator, conversation_ids=[one], at_source="maybe")


def test_a_user_is_deleted_at_the_source_as_the_operator_is_told(run, simulator, tmp_path):
    for number in range(3):
        simulator.create_conversations(at=(TODAY - DAY).timestamp() + number, user_id="subject")
    run()
    simulator.create_conversations(at=(TODAY + DAY).timestamp(), user_id="subject")  # not exported
    whom = {"cls": ChatbaseEraseConversationsOperator, "user_ids": "subject", "at_source": True}
    with pytest.raises(Exception, match="4 conversations would be deleted at Chatbase"):
        run(**whom, max_deletes=3)
    counted = run(**whom, dry_run=True)
    assert (counted["deleted_at_source"], counted["dry_run"]) == (4, True)
    assert len(list(simulator.store.conversations_of_user(simulator.agent_id, "subject"))) == 4
    assert run(**whom)["deleted_at_source"] == 4
    assert not list(simulator.store.conversations_of_user(simulator.agent_id, "subject"))
    assert "subject" not in {each["userId"] for each in rows(tmp_path / "out")}


def test_the_salt_is_that_of_the_connection_or_of_the_argument(run, monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW_CONN_SALT", json.dumps({"conn_type": "generic", "password": "pepper"}))
    seen = []
    for number, salt in enumerate(
        ({"redact_salt_conn_id": "salt"}, {"redact_salt": "pepper"}, {"redact_salt": "other"})
    ):
        run(output_path=f"file://{tmp_path}/{number}", redact={"user_id": "hash"}, **salt)
        seen.append([each["userId"] for each in rows(tmp_path / str(number))])
        written = b"".join(each.read_bytes() for each in (tmp_path / str(number)).rglob("*.json*"))
        assert b"pepper" not in written
    assert seen[0] == seen[1] != seen[2]
    with pytest.raises(Exception, match="a hash needs redact_salt or redact_salt_conn_id"):
        run(output_path=f"file://{tmp_path}/none", redact={"user_id": "hash"})


@pytest.mark.parametrize("file_format", ["jsonl", "delta"])
@pytest.mark.parametrize("name", ["a b", "a?b", "a*b", "a[1]b", "a#b", "100%", "ä"])
def test_names_in_a_local_url_are_names(run, tmp_path, name, file_format):
    (tmp_path / "axb").mkdir()
    assert run(output_path=f"file://{tmp_path}/{name}/out", file_format=file_format)["rows"] == 60
    assert {each.name for each in tmp_path.iterdir() if (each / "out").exists()} == {name}
    assert not list((tmp_path / "axb").iterdir())


def test_a_window_that_has_just_ended_is_waited_for(run, simulator, monkeypatch, tmp_path):
    slept = []
    monkeypatch.setattr(export_base, "time", SimpleNamespace(sleep=slept.append))
    now = datetime.now(tz=UTC)
    context = {"data_interval_start": now - DAY, "data_interval_end": now - timedelta(seconds=30)}
    operator = ChatbaseExportConversationsOperator
    arguments = {"task_id": "task", "agent_id": simulator.agent_id, "margin": "100"}
    run()  # sets the connection
    operator(output_path=f"file://{tmp_path}/just", **arguments).execute(context)
    assert 60 < slept[0] < 72
    later = {**context, "data_interval_end": now - timedelta(seconds=300)}
    operator(output_path=f"file://{tmp_path}/long", **arguments).execute(later)
    assert len(slept) == 1


def test_what_is_deleted_while_an_export_runs_is_gone_and_no_failure(run, simulator, caplog):
    caplog.set_level("INFO")
    gone = [each.id for each in simulator.store.conversations(simulator.agent_id)][:2]
    simulator.faults.add(
        Fault(
            kind="status",
            status=404,
            code="CONVERSATION_NOT_FOUND",
            where=lambda each: each.query.get("conversationId") == gone[0],
        ),
        Fault(
            kind="status",
            status=200,
            body=json.dumps(
                {"data": [], "pagination": {"cursor": None, "hasMore": False, "total": 0}}
            ).encode(),
            content_type="application/json",
            where=lambda each: each.query.get("conversationId") == gone[1],
        ),
    )
    result = run(strategy="changed_since", start=TODAY - 300 * DAY, end=TODAY + DAY)
    assert result["rows"] == 58
    assert "Deleted between search and reading: 2 conversations." in caplog.text


def test_the_last_line_says_what_was_done_and_what_was_not(run, simulator):
    simulator.create_conversations(at=(TODAY - DAY).timestamp(), user_id="airflow-1", count=2)
    start, end = (f"{each:%Y-%m-%dT%H:%M:%SZ}" for each in (TODAY - 60 * DAY, TODAY))
    said = export_base.in_words(run(exclude_user_prefix="airflow-"))
    assert said.startswith(
        f"Exported 60 conversations of agent {simulator.agent_id} from {start} to {end}, of 62 that the API "
        "counts; exclude_user_prefix left out 2: "
    )
    assert " bytes in 1 file in " in said
    assert said.endswith(f"/out. The next export without a window of its own begins at {end}.")


def test_a_full_temporary_directory_is_told_as_such(run, monkeypatch, tmp_path):
    from airflow_provider_chatbase.exports import staging

    monkeypatch.setattr(staging.tempfile, "tempdir", str(tmp_path / "not-there"))
    with pytest.raises(Exception, match=r"temporary directory .*not-there cannot be used") as raised:
        run()
    assert "TMPDIR" in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"channels": [1]}, "channels must be a list of names"),
        ({"channels": ["widget or iframe"]}, "'Widget or Iframe' is, and names are exact"),
        ({"channels": ["Whatsapp"]}, "'WhatsApp' is"),
        ({"exclude_user_prefix": 5}, "exclude_user_prefix must be a text, not 5"),
        ({"conversation_id": 5}, "conversation_id must be a text, not 5"),
        ({"margin": 1e30}, "margin must be a number from 0 to 86400"),
    ],
)
def test_what_would_find_nothing_or_end_in_a_raw_error_is_refused(run, simulator, arguments, why):
    with pytest.raises(Exception, match=why):
        run(**arguments)
    assert not simulator.requests


@pytest.mark.parametrize("file_format", ["jsonl", "delta"])
def test_a_file_in_the_place_of_the_output_is_told_before_the_reading(run, simulator, tmp_path, file_format):
    (tmp_path / "file").write_text("of somebody else")
    with pytest.raises(ChatbasePermanentError, match=r"Not a directory|is no directory"):
        run(output_path=f"file://{tmp_path}/file", file_format=file_format)
    assert not simulator.requests


@pytest.mark.parametrize("file_format", ["jsonl", "csv", "parquet", "delta"])
def test_whatever_the_api_brings_is_there_once(run, simulator, tmp_path, file_format):
    at = int((TODAY - DAY).timestamp())
    odd = [
        {"id": 1, "createdAt": at, "title": 5, "messages": []},
        {"id": "2", "createdAt": str(at), "messages": None},
        {"id": "3", "createdAt": None, "messages": [1, None, {"id": None, "role": 7, "parts": "text"}]},
        {"id": "4", "createdAt": 10**30, "messages": {"a": 1}, "status": False, "userId": ["a"]},
        {"id": "5", "createdAt": at, "messages": [{"id": "m", "parts": []}, {"id": "m", "parts": [7, {}]}]},
        {"id": "6", "createdAt": at, "messages": [{"id": "m", "metadata": {"score": 10**400}}]},
        {"createdAt": at, "title": "no id"},
        {"id": None, "createdAt": at, "title": "none either"},
        {"id": {"a": 1}, "createdAt": at, "title": "\x00 and half \ud83d"},
    ]
    body = {"data": odd, "pagination": {"cursor": None, "hasMore": False, "total": len(odd)}}
    reply = {"status": 200, "content_type": "application/json", "body": json.dumps(body).encode()}
    simulator.faults.add(Fault(kind="status", **reply))
    result = run(file_format=file_format)
    assert (result["rows"], result["api_total"]) == (len(odd), len(odd))
    assert result["tables"]["conversations"] == len(odd)
    if file_format == "delta":
        assert len(delta_rows(find_storage(f"file://{tmp_path}/out"))) == len(odd)
    if file_format == "jsonl":
        assert [row.get("title") for row in rows(tmp_path / "out")].count("no id") == 1
