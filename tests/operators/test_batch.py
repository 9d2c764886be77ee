"""The batch operator in real DAG runs, with real files, against the simulator."""

from __future__ import annotations

import json
import random
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, Asset, task
from assets import activate

from airflow_provider_chatbase.exceptions import ChatbaseBatchError, ChatbasePermanentError
from airflow_provider_chatbase.operators import chat
from airflow_provider_chatbase.operators.batch import XCOM_BYTES, ChatbaseBatchPromptOperator, _bounded
from airflow_provider_chatbase.simulator import Fault, Simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(conversations=3) as simulator:
        yield simulator


def _connection(simulator: Simulator, **extra: Any) -> dict[str, Any]:
    return {
        "conn_type": "chatbase",
        "host": simulator.url,
        "password": simulator.api_key,
        "extra": {"agent_id": simulator.agent_id, **extra},
    }


@pytest.fixture
def connected(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    monkeypatch.setenv("AIRFLOW_CONN_CHATBASE_DEFAULT", json.dumps(_connection(simulator)))
    return simulator


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "results.jsonl").read_text().splitlines()]


def _ti(run_id: str = "r1", try_number: int = 1) -> Any:
    ti = SimpleNamespace(dag_id="d", run_id=run_id, task_id="t", map_index=-1, try_number=try_number)
    began = datetime.now(UTC)
    return {"ti": ti, "dag_run": SimpleNamespace(run_after=began, start_date=began, clear_number=0)}


def test_it_can_be_imported_from_operators_chat():
    assert chat.ChatbaseBatchPromptOperator is ChatbaseBatchPromptOperator


def test_prompts_of_an_earlier_task_and_a_templated_path(
    run_dag: Callable[..., Any], simulator: Simulator, tmp_path: Path
):
    with DAG("batch_dag", schedule=None) as dag:

        @task
        def prompts() -> list[dict[str, Any]]:
            return [{"id": f"t{n}", "message": f"[sim:answer] {{{{ {n} }}}}", "n": n} for n in range(5)]

        ChatbaseBatchPromptOperator(
            task_id="ask", prompts=prompts(), output_path=f"file://{tmp_path}/{{{{ dag.dag_id }}}}"
        )
    run = run_dag(dag, connections={"chatbase_default": _connection(simulator)})
    assert run.state == "success"
    rows = _rows(tmp_path / "batch_dag")
    assert [(row["id"], row["text"]) for row in rows] == [(f"t{n}", f"{{{{ {n} }}}}") for n in range(5)]
    manifest = run.xcoms["ask"]
    assert manifest["outcomes"]["answered"] == 5
    assert manifest["manifest_path"] == f"file://{tmp_path}/batch_dag/_manifest.json"


def test_a_retry_of_the_task_goes_on(run_dag: Callable[..., Any], simulator: Simulator, tmp_path: Path):
    simulator.faults.add(Fault(kind="status", status=429, retry_after=0, operation="chatWithAgent", times=1))
    with DAG("batch_retry", schedule=None) as dag:
        ChatbaseBatchPromptOperator(
            task_id="ask",
            prompts=["a", "b", "c"],
            output_path=f"file://{tmp_path}/out",
            concurrency=1,
            fail_fast=True,
            retries=1,
            retry_delay=timedelta(0),
        )
    run = run_dag(dag, connections={"chatbase_default": _connection(simulator, max_attempts=1)})
    assert run.state == "success"
    assert [row["outcome"] for row in _rows(tmp_path / "out")] == ["answered"] * 3
    assert simulator.prompts_charged == 3


def test_assets_and_lineage_are_told_what_was_asked(
    run_dag: Callable[..., Any], simulator: Simulator, tmp_path: Path
):
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    answers = Asset("answers_of_ours")
    with DAG("batch_asset", schedule=None) as dag:
        asked = ChatbaseBatchPromptOperator(
            task_id="ask", prompts=["One", "Two"], output_path=f"file://{tmp_path}", outlets=[answers]
        )
    activate(answers)
    run = run_dag(dag, connections={"chatbase_default": _connection(simulator)})
    assert run.state == "success"
    with create_session() as session:
        [extra] = session.scalars(select(AssetEvent.extra).where(AssetEvent.source_dag_id == "batch_asset"))
    assert (extra["items"], extra["credits"], extra["agent_id"]) == (2, 2.0, simulator.agent_id)
    assert extra["manifest_uri"] == f"file://{tmp_path}/_manifest.json"

    extractors = pytest.importorskip("airflow.providers.openlineage.extractors.base")
    asked._result = run.xcoms["ask"]
    lineage = extractors.DefaultExtractor(asked).extract_on_complete(None)
    [read], [written] = lineage.inputs, lineage.outputs
    assert read.name == f"agents/{simulator.agent_id}/answers"
    assert (written.namespace, written.name) == ("file", str(tmp_path))
    assert written.facets["outputStatistics"].rowCount == 2


def test_a_file_of_prompts(connected: Simulator, tmp_path: Path):
    (tmp_path / "p.csv").write_text("id,message,contains\na,[sim:answer] Monday,monday\n")
    result = ChatbaseBatchPromptOperator(
        task_id="t", prompts_path=f"file://{tmp_path}/p.csv", output_path=f"file://{tmp_path}/out"
    ).execute(_ti())
    assert result["expectations"]["passed"] == 1
    assert _rows(tmp_path / "out")[0]["id"] == "a"


def test_without_credits_the_task_fails_without_a_retry(connected: Simulator, tmp_path: Path):
    connected.credit_balance = 2
    operator = ChatbaseBatchPromptOperator(
        task_id="t", prompts=["a", "b", "c"], output_path=str(tmp_path / "out"), concurrency=1
    )
    with pytest.raises(ChatbasePermanentError, match="CHAT_CREDITS_EXHAUSTED"):
        operator.execute(_ti())
    assert [row["outcome"] for row in _rows(tmp_path / "out")] == ["answered", "answered", "not_sent"]


@pytest.mark.parametrize("on_limit", ["succeed", "fail"])
def test_a_limit_is_a_success_or_not(connected: Simulator, tmp_path: Path, on_limit: Any):
    operator = ChatbaseBatchPromptOperator(
        task_id="t",
        prompts=["a", "b", "c"],
        output_path=f"file://{tmp_path}/out",
        max_items=2,
        on_limit=on_limit,
    )
    if on_limit == "fail":
        with pytest.raises(ChatbasePermanentError, match="max_items was reached"):
            operator.execute(_ti())
    else:
        result = operator.execute(_ti())
        assert (result["status"], result["stopped_by"]) == ("stopped", "max_items")
    assert _rows(tmp_path / "out")[2]["outcome"] == "not_sent"


def test_too_few_passes_fail_without_a_retry(connected: Simulator, tmp_path: Path):
    operator = ChatbaseBatchPromptOperator(
        task_id="t",
        prompts=[{"id": "hours", "message": "[sim:answer] no", "contains": "yes"}],
        output_path=f"file://{tmp_path}/out",
        min_pass_rate=1,
    )
    with pytest.raises(ChatbasePermanentError, match=r"The worst: hours \(contains: yes\)"):
        operator.execute(_ti())


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "either prompts or prompts_path"),
        ({"prompts": ["a"], "prompts_path": "file:///p.jsonl"}, "either prompts or prompts_path"),
        ({"prompts": "a"}, "must be a list"),
        ({"prompts": [{"id": 1, "message": "a"}, {"id": 1, "message": "b"}]}, "Two prompts have the id '1'"),
        ({"prompts": ["a"], "concurrency": 0}, "concurrency must be"),
        ({"prompts": ["a"], "json_schema": {"type": "odd"}}, "no JSON schema"),
        ({"prompts_path": "/gone.jsonl"}, "cannot be read"),
        ({"prompts": ["a"], "output_path": ""}, "names no directory"),
    ],
)
def test_a_wrong_argument_fails_at_once_and_writes_nothing(
    connected: Simulator, tmp_path: Path, given: dict[str, Any], why: str
):
    operator = ChatbaseBatchPromptOperator(task_id="t", **{"output_path": f"file://{tmp_path}/out", **given})
    with pytest.raises(ChatbasePermanentError, match=why):
        operator.execute(_ti())
    assert connected.requests_for("chatWithAgent") == []
    assert not (tmp_path / "out" / "results.jsonl").exists()


def test_plan_only(connected: Simulator, tmp_path: Path):
    plan = ChatbaseBatchPromptOperator(
        task_id="t", prompts=["a", "a"], output_path=f"file://{tmp_path}/out", plan_only=True
    ).execute(_ti())
    assert (plan["items"], plan["duplicates"], plan["estimated_credits"]) == (2, 1, 2)
    assert connected.requests_for("chatWithAgent") == []
    assert list(tmp_path.iterdir()) == []


def test_on_kill_ends_the_batch_and_the_next_try_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with Simulator(conversations=3, latency={"chatWithAgent": 0.05}) as simulator:
        monkeypatch.setenv("AIRFLOW_CONN_CHATBASE_DEFAULT", json.dumps(_connection(simulator)))
        operator = ChatbaseBatchPromptOperator(
            task_id="t", prompts=[f"q{n}" for n in range(60)], output_path=f"file://{tmp_path}/out"
        )
        enough = threading.Event()
        simulator.on_request = lambda request: (
            enough.set() if len(simulator.requests_for("chatWithAgent")) == 15 else None
        )
        killer = threading.Thread(target=lambda: enough.wait(20) and operator.on_kill())
        killer.start()
        with pytest.raises(ChatbaseBatchError, match="told to end"):
            operator.execute(_ti())
        killer.join()
        assert len(simulator.requests_for("chatWithAgent")) < 60
        result = operator.__class__(
            task_id="t", prompts=[f"q{n}" for n in range(60)], output_path=f"file://{tmp_path}/out"
        ).execute(_ti(try_number=2))
        assert result["outcomes"]["answered"] == 60
        assert simulator.prompts_charged == 60


def test_xcom_stays_small_whatever_the_input(connected: Simulator, tmp_path: Path):
    deep = tmp_path / ("d" * 200) / ("e" * 200) / ("f" * 200)
    result = ChatbaseBatchPromptOperator(
        task_id="t",
        prompts=[{"id": f"{n}" + "x" * 5000, "message": f"m{n}", "contains": "y" * 500} for n in range(30)],
        output_path=f"file://{deep}",
    ).execute(_ti("r" * 250))
    assert len(json.dumps(result).encode()) < XCOM_BYTES
    assert result["items"] == 30


def test_what_airflow_knows_is_left_out_of_xcom_first():
    assert _bounded({"run": "x", "items": 1}) == {"items": 1}
    assert "error_codes" not in _bounded({"items": 1, "error_codes": {"x" * 3000: 1}})


def test_numbers_flags_and_the_schema_may_be_text(connected: Simulator, tmp_path: Path):
    def operator(**given: Any) -> ChatbaseBatchPromptOperator:
        arguments = {"output_path": f"file://{tmp_path}/out", "prompts": ["[sim:answer] {}", "b"], **given}
        return ChatbaseBatchPromptOperator(task_id="t", **arguments)

    as_text = {"concurrency": "2", "max_items": "1", "on_limit": "succeed", "cache_ttl": "60"}
    shares = {"max_failure_rate": "0.5", "json_schema": '{"type": "object"}', "plan_only": "False"}
    result = operator(**as_text, **shares).execute(_ti())
    assert (result["stopped_by"], result["outcomes"]["answered"]) == ("max_items", 1)
    assert {*as_text, *shares} <= set(ChatbaseBatchPromptOperator.template_fields)
    for wrong in ({"plan_only": "no"}, {"concurrency": "many"}, {"dedupe": 1}, {"max_credits": True}):
        with pytest.raises(ChatbasePermanentError, match=next(iter(wrong))):
            operator(**wrong).execute(_ti("another"))


@pytest.mark.parametrize("path", ["one", "own", "expanded"])
def test_a_mapped_task_writes_each_instance_to_its_own_place(
    run_dag: Callable[..., Any], simulator: Simulator, tmp_path: Path, path: str
):
    given = {"prompts": [[f"{n} a", f"{n} b"] for n in range(3)]}
    paths = [f"{tmp_path}/{n}" for n in range(3)]
    with DAG("batch_mapped", schedule=None) as dag:
        if path == "expanded":
            arguments = [
                {"prompts": each, "output_path": to} for each, to in zip(given["prompts"], paths, strict=True)
            ]
            ChatbaseBatchPromptOperator.partial(task_id="ask").expand_kwargs(arguments)
        else:
            to = str(tmp_path) if path == "one" else f"{tmp_path}/{{{{ ti.map_index }}}}"
            ChatbaseBatchPromptOperator.partial(task_id="ask", output_path=to).expand(**given)
    run = run_dag(dag, connections={"chatbase_default": _connection(simulator)})
    assert run.state == "success"
    for n, to in enumerate(paths):
        assert [row["message"] for row in _rows(Path(to))] == [f"{n} a", f"{n} b"]
    assert simulator.prompts_charged == 6


def test_a_file_in_another_encoding_and_a_table(connected: Simulator, tmp_path: Path):
    arrow = pytest.importorskip("pyarrow")
    (tmp_path / "p.csv").write_bytes("id;message\na;[sim:answer] Größe, Maß\n".encode("cp1252"))
    path, how = f"file://{tmp_path}/p.csv", {"encoding": "cp1252", "delimiter": ";"}
    ChatbaseBatchPromptOperator(
        task_id="t", prompts_path=path, output_path=f"file://{tmp_path}/out", **how
    ).execute(_ti())
    assert _rows(tmp_path / "out")[0]["text"] == "Größe, Maß"
    table = arrow.table({"id": [1, 2], "message": ["[sim:answer] x", None], "n": [1.5, float("nan")]})
    ChatbaseBatchPromptOperator(
        task_id="t", prompts=table, output_path=f"file://{tmp_path}/table", max_failure_rate=0.5
    ).execute(_ti("r2"))
    rows = _rows(tmp_path / "table")
    assert [(row["id"], row["outcome"], row["metadata"]) for row in rows] == [
        ("1", "answered", {"n": 1.5}),
        ("2", "failed", {"n": None}),
    ]


def test_a_timeout_of_airflow_strikes_at_any_moment_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    class TaskTimeoutError(BaseException):
        """As Airflow's, which is no Exception."""

    def strike(*_: Any) -> None:
        raise TaskTimeoutError

    latency = {"chatWithAgent": 0.1}  # so that it strikes while it sends
    with Simulator(conversations=3, latency=latency, rate_limit=1_000_000) as simulator:
        monkeypatch.setenv("AIRFLOW_CONN_CHATBASE_DEFAULT", json.dumps(_connection(simulator)))
        before = signal.signal(signal.SIGALRM, strike)
        rng, struck, result = random.Random(7), 0, None
        try:
            while result is None:
                operator = ChatbaseBatchPromptOperator(
                    task_id="t", prompts=[f"q{n}" for n in range(120)], output_path=f"file://{tmp_path}/out"
                )
                try:
                    signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.1, 1.0) if struck < 8 else 0)
                    result = operator.execute(_ti(try_number=struck + 1))
                except TaskTimeoutError:
                    struck += 1
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            signal.signal(signal.SIGALRM, before)
        assert struck
        assert result["outcomes"]["answered"] == 120
        assert simulator.prompts_charged == 120
        assert "interrupted by TaskTimeoutError" in caplog.text
        assert not [each for each in threading.enumerate() if each.name == "chatbase-lock"]
