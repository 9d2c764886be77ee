"""The pages are true: their code runs, block by block, and their tables leave nothing out."""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from assets import activate
from code_blocks import CHECKOUT, Block, blocks_of, check_text, pages

MOST_NOT_RUN = 6
"""A page that cannot be believed is worth little."""


class Reader:
    """
    Does what a page says, in one folder and with one Chatbase.

    A block stands for itself: it sees what those before it wrote, but none of their names. A DAG is run; what
    creates tasks alone becomes a DAG. A block with a ``title`` is also a file of that name, and files of
    tests are run by pytest.
    """

    def __init__(self, folder: Path, run_dag: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.run_dag = run_dag
        self.monkeypatch = monkeypatch

    def follow(self, block: Block) -> None:
        code = block.in_folder(self.folder)
        is_test = "\ndef test_" in f"\n{code}"
        title = block.said.get("title") or ("test_page.py" if is_test else None)
        if title:
            self.write(title, code)
        if is_test:
            self.run_tests(title)
        elif block.language == "python":
            self.run_python(code, block.place)
        elif block.language == "sql":
            self.run_sql(code)
        else:
            check_text(block)

    def write(self, title: str, code: str) -> None:
        path = self.folder / title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")

    def run_python(self, code: str, place: str) -> None:
        from airflow.sdk import DAG

        dags: list[DAG] = []
        entered = DAG.__enter__

        def enter(dag: DAG) -> DAG:
            dags.append(dag)
            return entered(dag)

        with self.monkeypatch.context() as patched:
            patched.setattr(DAG, "__enter__", enter)
            with DAG(place.replace("/", ".").replace(":", "_"), schedule=None):
                exec(compile(code, place, "exec"), {"__name__": "page"})
        for dag in dags:
            if dag.tasks:
                self.run(dag)

    def run(self, dag: Any) -> None:
        for outlet in (outlet for task in dag.tasks for outlet in task.outlets):
            activate(outlet)
        for task in dag.tasks:
            task.retries = 0
        finished = self.run_dag(dag)
        assert finished.state == "success", finished.task_states

    def run_sql(self, code: str) -> None:
        duckdb = pytest.importorskip("duckdb")
        with duckdb.connect() as database:
            database.execute(code)

    def run_tests(self, title: str) -> None:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", title]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=250)
        assert done.returncode == 0, done.stdout + done.stderr


def not_run(block: Block) -> bool:
    return "not-run" in block.said


OF_COMMANDS = ("docs/testing.md", "docs/playground.md", "docs/check.md")
"""Each of their commands starts an Airflow; .ci/run follows the first with the built wheel, too."""


def followed(page: Path) -> Any:
    name = str(page.relative_to(CHECKOUT))
    return pytest.param(page, id=name, marks=pytest.mark.long if name in OF_COMMANDS else ())


@pytest.mark.parametrize("page", map(followed, pages()))
def test_the_code_of(page, run_dag, start_simulator, connect, chatbase_without_waits, monkeypatch, tmp_path):
    connect(start_simulator(conversations=60, months=1))
    model_for_tests = {"conn_type": "pydanticai", "extra": {"model": "test"}}
    monkeypatch.setenv("AIRFLOW_CONN_PYDANTICAI_DEFAULT", json.dumps(model_for_tests))
    reader = Reader(tmp_path, run_dag, monkeypatch)
    monkeypatch.chdir(tmp_path)
    failures = []
    for block in blocks_of(page):
        if not_run(block):
            continue
        try:
            reader.follow(block)
        except (Exception, SystemExit):  # noqa: BLE001 - told with the others below
            failures.append(f"{block.place}\n{traceback.format_exc(limit=-3)}")
    assert not failures, "\n".join(failures)


def test_few_blocks_are_not_run_and_each_says_why():
    silent = [block for page in pages() for block in blocks_of(page) if not_run(block)]
    assert all(len(block.said["not-run"]) > 10 for block in silent)
    assert len(silent) <= MOST_NOT_RUN, [block.place for block in silent]


def test_every_error_is_told_with_what_to_do():
    from airflow_provider_chatbase import exceptions

    page = (CHECKOUT / "docs" / "errors.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| `Chatbase")]
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines]
    told = {name: again for name, _, again, _ in rows}
    errors = [name for name in exceptions.__all__ if name.startswith("Chatbase")]
    assert set(told) == set(errors)
    permanent = {name for name in errors if getattr(exceptions, name).permanent}
    assert {name for name, again in told.items() if again == "no"} == permanent


def test_every_code_is_told_as_the_errors_tell_it():
    from airflow_provider_chatbase.client.errors import BY_CODE, advice

    page = (CHECKOUT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = [
        f"| `{code}` | `{error.__name__}` | {advice(code, error) or 'Read the message.'} |"
        for code, (error, _) in sorted(BY_CODE.items())
    ]
    missing = [row for row in rows if row not in page.splitlines()]
    assert not missing, "docs/errors.md lacks:\n" + "\n".join(missing)


def test_the_reference_tells_of_every_argument():
    from reference_pages import reference_pages

    made = dict(reference_pages())
    assert (
        "| `message`<br><small>str</small> | required | yes | the message. |"
        in made["reference/operators.md"]
    )
    assert made["reference/operators.md"].count("| `dry_run`<br><small>bool</small> | `False` | yes |") == 2
    assert "link_type: str = 'individual', agent_id: str | None = None" in made["reference/hooks.md"]
    assert "ChatbaseAnswerError" in made["reference/operators.md"], "what execute() raises"
