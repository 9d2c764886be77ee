"""The sync operator: its arguments, its results, its waits, and whole DAG runs."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import AirflowTaskTimeout, TaskDeferred

from airflow_provider_chatbase.exceptions import (
    ChatbaseError,
    ChatbasePermanentError,
    ChatbaseSyncError,
    ChatbaseTrainingError,
    ChatbaseTrainingTimeoutError,
)
from airflow_provider_chatbase.operators.sources import ChatbaseSyncSourcesOperator
from airflow_provider_chatbase.simulator import Fault
from tests.operators.conftest import context, writes


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "guide.md").write_text("Press the green button.")
    (folder / "prices.txt").write_text("5 euros")
    (folder / "logo.png").write_bytes(b"x")
    return folder


def sync(**arguments):
    arguments.setdefault("upload_interval", 0.0)
    arguments.setdefault("poll_interval", 0.05)
    arguments.setdefault("sync_id", "docs")
    return ChatbaseSyncSourcesOperator(task_id="sync", **arguments).execute(context())


def ours(simulator):
    return {s.name: s for s in simulator.store.sources(simulator.agent_id) if s.name.startswith("docs:")}


def test_returns_counts_names_and_ids(start, docs):
    simulator = start()
    result = sync(path=f"file://{docs}", wait_for_training=True)
    assert {
        name: result[name] for name in ("created", "updated", "deleted", "unchanged", "failed", "skipped")
    } == {
        "created": 2,
        "updated": 0,
        "deleted": 0,
        "unchanged": 0,
        "failed": 0,
        "skipped": 1,
    }
    assert result["first"] == {"created": ["guide.md", "prices.txt"], "skipped": ["logo.png"]}
    assert set(result["source_ids"]) == {source.id for source in ours(simulator).values()}
    again = sync(path=str(docs), prune=True, wait_for_training=True)
    assert (again["unchanged"], again["in_step"], again["source_ids"]) == (2, True, [])


def test_on_kill_ends_the_sync_and_the_next_try_goes_on(start, docs):
    simulator = start()
    operator = ChatbaseSyncSourcesOperator(task_id="sync", path=str(docs), sync_id="docs")
    simulator.on_request = lambda request: request.method == "POST" and operator.on_kill()
    with pytest.raises(ChatbaseError, match="told to end") as told:
        operator.execute(context())
    assert not told.value.permanent
    simulator.on_request = None
    assert len(ours(simulator)) == 1
    assert sync(path=str(docs))["created"] == 1


def test_a_dry_run_changes_nothing_and_writes_its_report(start, docs, tmp_path, caplog):
    simulator = start()
    report_path = tmp_path / "reports" / "plan.json"
    with caplog.at_level("INFO"):
        result = sync(path=str(docs), dry_run=True, report_path=f"file://{report_path}")
    assert writes(simulator) == []
    assert (result["dry_run"], result["create"]) == (True, 2)
    assert json.loads(report_path.read_text())["create"] == [
        {"key": "guide.md", "note": "text"},
        {"key": "prices.txt", "note": "file"},
    ]


def test_a_check_fails_or_reports(start, docs):
    simulator = start()
    with pytest.raises(ChatbasePermanentError, match="2 to create"):
        sync(path=str(docs), mode="check")
    assert sync(path=str(docs), mode="check", on_drift="report")["in_step"] is False
    assert writes(simulator) == []
    sync(path=str(docs))
    assert sync(path=str(docs), mode="check")["in_step"] is True


def test_lists_from_a_task_and_from_files(start, tmp_path):
    simulator = start()
    (tmp_path / "faq.csv").write_text("question,answer\nWhen?,At 8.\n")
    sync(sources=[{"key": "note", "content": "text"}])
    sync(sources=f"file://{tmp_path / 'faq.csv'}")
    assert sorted(name.rsplit(" #", 1)[0] for name in ours(simulator)) == ["docs:When?", "docs:note"]


def test_failures_are_named_and_decide_about_a_retry(start, docs):
    simulator = start()
    (docs / "empty.md").write_text("")
    with pytest.raises(ChatbasePermanentError, match=r"empty\.md: content is empty"):
        sync(path=str(docs))
    assert len(ours(simulator)) == 2
    (docs / "empty.md").write_text("full")
    simulator.faults.add(Fault(kind="status", operation="createSource", status=429, retry_after=0.0))
    with pytest.raises(ChatbaseSyncError, match="429"):
        sync(path=str(docs))
    simulator.faults.clear()
    assert sync(path=str(docs))["created"] == 1


def test_too_many_deletes_fail_the_task_and_delete_nothing(start, docs):
    simulator = start()
    sync(path=str(docs))
    (docs / "guide.md").unlink()
    with pytest.raises(ChatbasePermanentError, match="max_deletes is 0"):
        sync(path=str(docs), prune=True, max_deletes=0)
    assert len(ours(simulator)) == 2
    assert sync(path=str(docs), prune=True, max_deletes=1)["deleted"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Give path or sources"),
        ({"path": "/no/such/folder"}, "is no folder"),
        ({"path": "", "sources": []}, "path is empty"),
        ({"path": "/tmp", "globs": []}, "globs names no files"),
        ({"path": "nosuch://bucket/x"}, "cannot be used"),
        ({"sources": "/no/such/file.jsonl"}, "cannot be read"),
        ({"sources": [], "mode": "look"}, "mode"),
        ({"sources": [], "prune": True, "sync_id": None}, "prune needs a sync_id"),
        ({"sources": [], "sync_id": "a:b"}, "sync_id 'a:b'"),
        ({"sources": [], "max_deletes": -1}, "max_deletes"),
        ({"sources": [], "max_deletes": 1.5}, "max_deletes"),
        ({"sources": [], "max_deletes": True}, "max_deletes"),
        ({"sources": [], "max_deletes": None}, "max_deletes"),
        ({"sources": [], "upload_interval": -1.0}, "upload_interval"),
        ({"sources": "text"}, "does not say its format"),
        ({"sources": {"a": "b"}}, "must be a list of records"),
        ({"sources": [], "on_problem": "ignore"}, "on_problem"),
        ({"sources": [], "globs": 7}, "globs"),
        ({"sources": [], "exclude": [7]}, "exclude"),
        ({"sources": [], "text_suffixes": [""]}, "text_suffixes"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_sent(start, arguments, message):
    simulator = start()
    with pytest.raises(ChatbasePermanentError, match=message):
        sync(**arguments)
    assert simulator.requests == []


def test_a_sync_id_that_cannot_stand_in_a_name(start):
    start()
    with pytest.raises(ChatbasePermanentError, match="sync_id"):
        ChatbaseSyncSourcesOperator(task_id="sync", sync_id="a:b", sources=[]).execute(context())


def test_waits_for_what_it_wrote_not_for_what_was_trained_before(start, docs):
    simulator = start(training_seconds=0.4)
    sync(path=str(docs), wait_for_training=True)
    now = simulator._world.clock.time()
    assert {source.status(now) for source in ours(simulator).values()} == {"trained"}
    (docs / "guide.md").write_text("sim:fail-training")
    with pytest.raises(ChatbaseTrainingError, match=r"guide\.md"):
        sync(path=str(docs), wait_for_training=True)
    with pytest.raises(ChatbaseTrainingError, match=r"guide\.md"):
        sync(path=str(docs), wait_for_training=True)


def test_gives_up_waiting_and_a_retry_goes_on(start, docs):
    simulator = start(training_seconds=60)
    with pytest.raises(ChatbaseTrainingTimeoutError, match="Everything is written"):
        sync(path=str(docs), wait_for_training=True, training_timeout=0.2)
    simulator.advance(61)
    simulator.reset_log()
    assert sync(path=str(docs), wait_for_training=True)["unchanged"] == 2
    assert writes(simulator) == []


def test_v1_is_told_the_way_out(start, docs):
    start(api_version="v1")
    with pytest.raises(ChatbasePermanentError, match="source_text"):
        sync(path=str(docs))


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_dag_syncs_and_waits(start, docs, run_dag, deferrable):
    from airflow.sdk import DAG, task

    simulator = start(training_seconds=0.5)
    with DAG(f"sync_docs_{deferrable}", schedule=None, start_date=datetime(2024, 1, 1, tzinfo=UTC)) as dag:

        @task
        def list_questions():
            return [{"questions": ["When?"], "answer": "At 8."}]

        ChatbaseSyncSourcesOperator(
            task_id="sync",
            path="{{ dag_run.conf['docs'] }}",
            sources=list_questions(),
            sync_id="docs",
            prune=True,
            upload_interval=0.0,
            poll_interval=2.0 if deferrable else 0.1,
            wait_for_training=True,
            deferrable=deferrable,
        )
    run = run_dag(dag, conf={"docs": f"file://{docs}"})
    assert run.state == "success"
    assert run.xcoms["sync"]["created"] == 3
    assert len(run.xcoms["sync"]["source_ids"]) == 3
    now = simulator._world.clock.time()
    assert {source.status(now) for source in ours(simulator).values()} == {"trained"}


def test_the_execution_timeout_holds_while_the_wait_is_deferred(start, docs, monkeypatch):
    start(training_seconds=3600.0)
    began = SimpleNamespace(start_date=datetime.now(tz=UTC))
    monkeypatch.setattr("airflow_provider_chatbase.operators._task.current_context", lambda: {"ti": began})
    arguments = {"task_id": "sync", "path": str(docs), "sync_id": "docs", "upload_interval": 0.0}
    arguments |= {"wait_for_training": True, "deferrable": True, "poll_interval": 0.1}
    operator = ChatbaseSyncSourcesOperator(execution_timeout=timedelta(seconds=1), **arguments)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context())
    event = asyncio.run(anext(deferred.value.trigger.run())).payload
    began.start_date = datetime.now(tz=UTC)  # as Airflow 3.0 does it
    given = {**(deferred.value.kwargs or {}), "event": event}
    with pytest.raises(AirflowTaskTimeout, match=r"0:00:01 is over\. Last seen: .* Everything is written"):
        operator.resume_execution(deferred.value.method_name, given, context())


def test_a_deferred_wait_fails_with_the_name_of_the_source(start, docs, run_dag):
    from airflow.sdk import DAG

    (docs / "bad.md").write_text("sim:fail-training")
    start(training_seconds=1.0)
    with DAG("sync_bad_docs", schedule=None, start_date=datetime(2024, 1, 1, tzinfo=UTC)) as dag:
        ChatbaseSyncSourcesOperator(
            task_id="sync",
            path=str(docs),
            sync_id="docs",
            upload_interval=0.0,
            poll_interval=2.0,
            wait_for_training=True,
            deferrable=True,
        )
    assert run_dag(dag).task_states == {"sync": "failed"}


@pytest.mark.parametrize("name", ["prune", "dry_run", "allow_empty", "wait_for_training", "deferrable"])
@pytest.mark.parametrize("value", ["maybe", "", "0", 1, 0, []], ids=repr)
def test_what_is_neither_true_nor_false_is_refused(start, docs, name, value):
    simulator = start()
    with pytest.raises(ChatbasePermanentError, match="must be true or false"):
        sync(path=str(docs), **{name: value})
    assert simulator.requests == []


def test_arguments_may_be_text(start, docs):
    simulator = start()
    assert sync(path=str(docs), prune="False", dry_run="False", wait_for_training="false")
    (docs / "guide.md").unlink()
    assert sync(path=str(docs), prune="False")["kept"] == 1
    assert sync(path=str(docs), prune="True", max_deletes="0", dry_run="true")["kept"] == 1
    assert len(ours(simulator)) == 2
    assert sync(path=str(docs), prune="True", max_deletes="0.5", upload_interval="0")["deleted"] == 1


def test_the_owner_of_the_task_is_airflow_s_own(start, docs):
    simulator = start()
    operator = ChatbaseSyncSourcesOperator(
        task_id="sync", path=str(docs), owner="Team: A", sync_id="docs", upload_interval=0.0
    )
    assert operator.owner == "Team: A"
    operator.execute(context())
    assert len(ours(simulator)) == 2


FAQ = [{"question": "When?", "answer": "At 8."}, {"question": "Where?", "answer": float("nan")}]


def test_one_bad_record_is_told_and_on_problem_decides_about_the_task(start, caplog):
    simulator = start()
    with pytest.raises(ChatbasePermanentError, match=r"Where\?: answer must be text, not float 'nan'"):
        sync(sources=FAQ)
    assert [name.rsplit(" #", 1)[0] for name in ours(simulator)] == ["docs:When?"], "the others went on"
    result = sync(sources=FAQ, on_problem="report")
    assert (result["failed"], result["unchanged"], result["first"]["failed"]) == (1, 1, ["Where?"])


def test_on_problem_puts_up_with_no_failure_that_a_retry_mends_and_with_no_question(start, docs):
    simulator = start()
    sync(path=str(docs), sources=FAQ, on_problem="report", prune=True)
    simulator.faults.add(Fault(kind="status", operation="createSource", status=500, after=False))
    more = [*FAQ, {"question": "Who?", "answer": "We."}]
    with pytest.raises(ChatbaseSyncError, match="createSource"):
        sync(path=str(docs), sources=more, on_problem="report")
    simulator.faults.clear()
    for page in docs.iterdir():
        page.unlink()
    with pytest.raises(ChatbasePermanentError, match="allow_empty=True"):
        sync(path=str(docs), sources=FAQ[:1], on_problem="report", prune=True)
    assert len(ours(simulator)) == 3


def test_a_refusal_of_one_source_is_a_problem_of_it(start, docs):
    simulator = start()
    refused = {"kind": "status", "operation": "createSource", "status": 422, "times": 1}
    simulator.faults.add(Fault(**refused, code="SOURCE_SIZE_LIMIT_EXCEEDED"))
    assert sync(path=str(docs), on_problem="report")["failed"] == 1


def test_tables_of_a_program_are_lists_of_records(start):
    arrow = pytest.importorskip("pyarrow")
    simulator = start()
    table = arrow.table({"question": ["When?", "Where?"], "answer": ["At 8.", "Here."]})
    assert sync(sources=table)["created"] == 2
    assert sorted(name.rsplit(" #", 1)[0] for name in ours(simulator)) == ["docs:When?", "docs:Where?"]


def test_a_table_of_excel_is_read_as_it_is_told(start, tmp_path):
    simulator = start()
    (tmp_path / "faq.csv").write_bytes("question;answer\r\nGröße?;Groß.\r\n".encode("cp1252"))
    with pytest.raises(ChatbasePermanentError, match="name its encoding"):
        sync(sources=str(tmp_path / "faq.csv"))
    with pytest.raises(ChatbasePermanentError, match="say delimiter=';'"):
        sync(sources=str(tmp_path / "faq.csv"), encoding="cp1252")
    assert simulator.requests == []
    assert sync(sources=str(tmp_path / "faq.csv"), encoding="cp1252", delimiter=";")["created"] == 1
    assert [source.details["answer"] for source in ours(simulator).values()] == ["Groß."]


def test_what_declares_nothing_is_told(start, docs, shown):
    start()
    result = sync(path=str(docs), globs=["*.md", "pages/*.html"], sources=[])
    assert result["unmatched"] == ["pages/*.html", "the list of sources"]
    assert "Nothing is declared by: pages/*.html, the list of sources." in " ".join(shown().split())


def test_another_task_of_the_same_sync_id_is_told(start, docs):
    simulator = start()
    sync(path=str(docs), prune=True)
    other = context()
    other["ti"].task_id = "other"
    operator = ChatbaseSyncSourcesOperator(
        task_id="other", sources=[{"key": "a", "content": "x"}], sync_id="docs", prune=True, max_deletes=9
    )
    with pytest.raises(ChatbasePermanentError, match="sync_id 'docs' has 2 sources written by another task"):
        operator.execute(other)
    assert len(ours(simulator)) == 3
    operator.take_over, operator.allow_empty = "true", True
    assert operator.execute(other)["deleted"] == 2


def test_a_mapped_task_is_known_again_by_a_path_with_its_date(start, tmp_path):
    """Another instance of the run, or of another date, is another one."""
    simulator = start()

    def sync_of(day, path, page):
        (tmp_path / path).mkdir(exist_ok=True)
        (tmp_path / path / f"{page}.md").write_text("text")
        of_day = context()
        of_day["ti"].map_index = 0
        of_day["dag_run"] = SimpleNamespace(logical_date=datetime(2026, 11, day, tzinfo=UTC))
        how = {"sync_id": "docs", "prune": True, "max_deletes": 9, "allow_empty": True}
        task = ChatbaseSyncSourcesOperator(task_id="sync", path=str(tmp_path / path), **how)
        return task.execute(of_day)

    sync_of(25, "faq-2026-11-25", "a")
    assert sync_of(26, "faq-2026-11-26", "b")["updated"] == 1
    with pytest.raises(ChatbasePermanentError, match="written by another task"):
        sync_of(26, "docs-2026-11-26", "c")
    with pytest.raises(ChatbasePermanentError, match="written by another task"):
        sync_of(26, "faq-2026-11-20", "d")
    assert len(ours(simulator)) == 3


def test_a_mapped_task_is_told_by_a_template_what_to_do(start, docs, run_dag):
    from airflow.sdk import DAG

    simulator = start()
    with DAG("sync_mapped", schedule=None, start_date=datetime(2024, 1, 1, tzinfo=UTC)) as dag:
        ChatbaseSyncSourcesOperator.partial(
            task_id="sync",
            path=str(docs),
            prune="{{ 'True' }}",
            sync_id="docs",
            dry_run="{{ dag_run.conf['dry_run'] }}",
            upload_interval="0.0",
        ).expand(agent_id=[simulator.agent_id])
    assert run_dag(dag, conf={"dry_run": "True"}).state == "success"
    assert writes(simulator) == []
    assert run_dag(dag, conf={"dry_run": "False"}).state == "success"
    assert len(ours(simulator)) == 2
