"""Tables: a stated schema, safe in a spreadsheet, the same whatever the format."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_chatbase.exports.rows import MESSAGES, TABLES_OF, rows_of
from airflow_provider_chatbase.exports.window import EPOCH, Window, in_utc, read_moment
from airflow_provider_chatbase.files.formats import CsvStyle, open_format

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
zstandard = pytest.importorskip("zstandard")

CONVERSATION = {
    "id": "c1",
    "title": "=1+1",
    "createdAt": 1767225600,
    "updatedAt": 1767225660,
    "userId": None,
    "status": "escalated",
    "source": "Telegram",
    "country": "DE",
    "messages": [
        {"id": "m1", "role": "user", "parts": [{"type": "text", "text": 'Hi\n"there", \ud800 \u2028'}]},
        {
            "id": "m2",
            "role": "assistant",
            "createdAt": 1767225601.5,
            "feedback": "negative",
            "metadata": {"score": 0.25, "model": "x"},
            "language": "en",
            "parts": [
                {"type": "reasoning", "text": "hm"},
                {"type": "tool-call", "toolCallId": "t1", "toolName": "order"},
                {"type": "text", "text": "Look: "},
                {"type": "text", "text": "here"},
            ],
        },
        {
            "id": "m3",
            "role": "human",
            "parts": [{"type": "tool-result", "toolCallId": "t1", "toolName": "order", "output": {"a": 1}}],
        },
    ],
}
AT, UPDATED = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


def test_rows_of_a_conversation():
    rows = rows_of("conversations", CONVERSATION, "a1")
    assert rows["conversations"] == [
        ("c1", AT, UPDATED, "Telegram", "escalated", None, "=1+1", 3, "a1", '{"country":"DE"}')
    ]
    later = AT + timedelta(seconds=1.5)
    assert rows["messages"] == [
        (
            "c1",
            "m1",
            1,
            "user",
            'Hi\n"there", \ufffd \u2028',
            None,
            None,
            None,
            "Telegram",
            UPDATED,
            "a1",
            None,
        ),
        (
            *("c1", "m2", 2, "assistant", "Look: here", later, "negative", 0.25, "Telegram", UPDATED, "a1"),
            '{"language":"en","metadata":{"model":"x"},"parts":[{"type":"reasoning","text":"hm"}]}',
        ),
        ("c1", "m3", 3, "human", "", None, None, None, "Telegram", UPDATED, "a1", None),
    ]
    assert rows["tool_calls"] == [
        ("c1", "m2", 2, "t1", "order", None, '{"a":1}', later, "Telegram", UPDATED, "a1", None)
    ]


def test_rows_of_a_conversation_of_api_v1():
    item = {
        "id": "c1",
        "chatbot_id": "a1",
        "created_at": "2026-01-01T00:00:00.000Z",
        "updated_at": "2026-01-01T00:01:00.000Z",
        "source": "whatsapp",
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes", "score": 1}],
    }
    rows = rows_of("conversations", item, "a1")
    assert rows["conversations"] == [("c1", AT, UPDATED, "whatsapp", None, None, None, 2, "a1", None)]
    assert [row[:5] for row in rows["messages"]] == [
        ("c1", "c1:1", 1, "user", "Hi"),
        ("c1", "c1:2", 2, "assistant", "Yes"),
    ]
    assert rows["messages"][1][7] == 1.0


@pytest.mark.parametrize("kind", TABLES_OF)
def test_every_row_has_every_column(kind):
    for table in TABLES_OF[kind]:
        for row in rows_of(kind, {"id": "x", "messages": CONVERSATION["messages"]}, "a1")[table.name]:
            assert len(row) == len(table.columns)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "  =1", "\uff1d1"])
def test_a_spreadsheet_takes_no_text_for_a_formula(text):
    item = {
        "id": "c1",
        "messages": [{"role": "user", "parts": [{"type": "text", "text": text}], "score": -1}],
    }
    for escape, expected in ((True, f"'{text}"), (False, text)):
        [row] = rows_of("conversations", item, "a1")["messages"]
        line = open_format("csv", csv_style=CsvStyle(escape)).encode(MESSAGES, row)
        [cells] = csv.reader(io.StringIO(line.decode(), newline=""))
        assert cells[4] == expected
        assert cells[7] == "-1.0"


def written(export, table: str) -> bytes:
    [path] = (export.path / table).glob("*/*")
    return path.read_bytes()


def test_csv_and_parquet_say_the_same(exports, year):
    as_csv, as_parquet = (export := exports(conversations=250)), exports(export.simulator, "parquet")
    as_csv.run(year, file_format="csv", csv_style=CsvStyle(escape_formulas=False))
    as_parquet.run(year, file_format="parquet")
    for table in TABLES_OF["conversations"]:
        names = [column.name for column in table.columns]
        lines = list(csv.reader(io.StringIO(written(as_csv, table.name).decode(), newline="")))
        assert lines[0] == names
        rows = pq.read_table(io.BytesIO(written(as_parquet, table.name)))
        assert rows.column_names == names
        shown = [
            [
                "" if value is None else in_utc(value) if isinstance(value, datetime) else str(value)
                for value in row
            ]
            for row in zip(*rows.to_pydict().values(), strict=True)
        ]
        assert lines[1:] == shown
        assert shown


def test_every_child_row_has_its_parent_and_every_message_is_there(exports, year):
    export = exports(conversations=250)
    export.run(year, file_format="parquet")
    conversations, messages, calls = (
        pq.read_table(io.BytesIO(written(export, name))).to_pylist()
        for name in ("conversations", "messages", "tool_calls")
    )
    found: dict[str, list[str]] = {each["conversation_id"]: [] for each in conversations}
    for message in messages:
        found[message["conversation_id"]].append(message["message_id"])
        assert message["agent_id"] == export.simulator.agent_id
    assert found == export.truth(year)
    assert calls
    assert {each["message_id"] for each in calls} <= {each["message_id"] for each in messages}
    assert all(each["output"] is not None and each["tool_name"] for each in calls)


def test_the_tables_that_were_chosen(exports, year):
    export = exports(conversations=20)
    outcome = export.run(year, file_format="csv", tables=["messages"])
    assert {name.split("/")[0] for name in export.files()} == {"messages"}
    assert outcome.rows == 20


@pytest.mark.parametrize("file_format", ["jsonl", "csv"])
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_files(exports, year, file_format, compression):
    export, plain = exports(conversations=100), None
    plain = exports(export.simulator, "plain")
    export.run(year, file_format=file_format, compression=compression)
    before = export.everything()
    export.run(year, file_format=file_format, compression=compression, concurrency=1)
    assert export.everything() == before
    plain.run(year, file_format=file_format)
    content = written(export, "conversations")
    suffix = {"gzip": ".gz", "zstd": ".zst"}[compression]
    assert all(name.endswith(suffix) for name in export.files())
    if compression == "gzip":
        assert gzip.decompress(content) == written(plain, "conversations")
    else:
        reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content), read_across_frames=True)
        assert reader.read() == written(plain, "conversations")


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
def test_parquet_does_not_depend_on_the_parts(exports, year, compression, monkeypatch):
    monkeypatch.setattr("airflow_provider_chatbase.files.parquet.ROW_GROUP", 100)
    export = exports(conversations=500)
    export.run(year, file_format="parquet", compression=compression)
    whole = export.everything()
    alone = exports(export.simulator, "alone")
    monkeypatch.setattr("airflow_provider_chatbase.exports.parallel.LEAST_PAGES", 2)
    alone.run(year, file_format="parquet", compression=compression, concurrency=9)
    assert alone.everything() == whole
    file = pq.ParquetFile(io.BytesIO(written(export, "conversations")))
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [100] * 5
    codec = {None: "SNAPPY", "gzip": "GZIP", "zstd": "ZSTD"}[compression]
    assert file.metadata.row_group(0).column(0).compression == codec
    assert str(file.schema_arrow.field("created_at").type) == "timestamp[ms, tz=UTC]"


def test_days_are_directories(exports, year):
    export = exports(conversations=100)
    export.run(year, file_format="csv", partition_by="day")
    for name, content in export.everything().items():
        if name.startswith("conversations/"):
            day = name.split("/")[1].removeprefix("conversation_date=")
            rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
            assert {row["created_at"][:10] for row in rows} <= {day}


def test_leads_and_contacts(exports, year):
    export = exports(leads=130, contacts=45)
    tomorrow = Window(year.start, year.end + timedelta(days=1))
    export.run(tomorrow, kind="leads")
    truth = export.simulator.store.leads(export.simulator.agent_id)
    assert sorted(export.objects(), key=json.dumps) == sorted(truth, key=json.dumps)
    assert len(truth) == 130

    as_csv = exports(export.simulator, "contacts")
    outcome = as_csv.run(tomorrow, kind="contacts", by="updated", file_format="csv")
    rows = list(csv.DictReader(io.StringIO(written(as_csv, "contacts").decode(), newline="")))
    truth = {each["id"]: each for each in export.simulator.store.contacts(export.simulator.agent_id)}
    assert (len(rows), outcome.api_total) == (45, 45)
    for row in rows:
        contact = truth.pop(row["contact_id"])
        assert row["phone"] == f"'{contact['phonenumber']}"
        assert json.loads(row["custom_attributes"]) == contact["custom_attributes"]
        assert row["created_at"] == in_utc(read_moment(contact["created_at"]))


@pytest.mark.parametrize("shape", ["collectedCustomers", "collectedCustomers.data", "data"])
def test_every_shape_of_the_leads_reply(exports, year, shape):
    export = exports(leads=40, leads_shape=shape)
    export.run(Window(year.start, year.end + timedelta(days=1)), kind="leads")
    assert len(export.objects()) == 40


def test_leads_of_a_window_are_those_of_its_seconds(exports, year):
    export = exports(leads=100)
    middle = datetime.now(tz=UTC).replace(microsecond=0) - timedelta(days=60)
    export.run(Window(year.start, middle), kind="leads")
    first = {each["id"] for each in export.objects()}
    export.run(Window(middle, year.end + timedelta(days=1)), kind="leads")
    truth = export.simulator.store.leads(export.simulator.agent_id)
    assert first == {each["id"] for each in truth if read_moment(each["created_at"]) < middle}
    assert len(export.objects()) == 100
    assert 0 < len(first) < 100


@pytest.mark.parametrize("version", ["v2", pytest.param("v1", marks=pytest.mark.long)])
def test_from_the_beginning_of_time(exports, version):
    export = exports(conversations=300, rate_limit=100_000)
    window = Window(EPOCH, datetime.now(tz=UTC).replace(microsecond=0))
    export.run(window, api_version=version)
    assert {each["id"] for each in export.objects()} == set(export.truth(window))


def test_conversations_of_api_v1(exports, year):
    export = exports(conversations=400)
    window = Window(year.start + timedelta(hours=7), year.end - timedelta(hours=5))
    export.run(window, api_version="v1")
    found = {each["id"]: each for each in export.objects()}
    assert set(found) == set(export.truth(window))
    before = export.everything()
    export.run(window, api_version="v1", concurrency=1)
    assert export.everything() == before
    truth = {each.id: each for each in export.simulator.store.conversations(export.simulator.agent_id)}
    for each in found.values():
        assert len(each["messages"]) == len(truth[each["id"]].messages)
