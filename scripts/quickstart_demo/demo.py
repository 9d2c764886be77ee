"""The demo's course."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from quickstart_demo import report, task_logs
from quickstart_demo.airflow_api import AirflowApi, TaskState
from quickstart_demo.airflow_instance import AirflowInstance
from quickstart_demo.chatbase_service import (
    ChatbaseService,
    check_that_it_answers,
    service_of,
    start_simulator,
)
from quickstart_demo.child_processes import ChildProcesses, undisturbed
from quickstart_demo.dag_run import DAG_ID, DagRun, wait_until_parsed
from quickstart_demo.errors import DemoError
from quickstart_demo.live_agent import INSTRUCTIONS, LiveAgent
from quickstart_demo.promises import Promises
from quickstart_demo.screen import Screen
from quickstart_demo.sections import Sections, manifest_of
from quickstart_demo.stopwatch import Stopwatch

CONNECTION = "chatbase_default"
TASK_NEWS = {
    "running": "is running",
    "deferred": "is deferred: it waits in the triggerer and takes no worker",
    "up_for_retry": "failed and will be tried again",
    "success": "succeeded",
    "failed": "failed",
    "upstream_failed": "does not run, as a task before it failed",
}

PROOFS = "What is promised, and what came of it"
WHAT_WILL_HAPPEN = """\
In about a minute: Airflow and a stand-in for Chatbase start on this machine, and nothing leaves it. The
example DAG teaches an agent, asks it, and exports its conversations. On the way the demo loses the reply of a
paid answer and kills the export half-way; in the end the books of the stand-in say what was paid for, and
whether a conversation was lost."""
NEXT = """\
scripts/demo --stay leaves Airflow's page up, to look around and to run the DAG again. docs/start.md goes from
an empty folder to a DAG of your own; scripts/demo --live tries this one on an agent of yours."""
STAYS = """\
{page}
No login is asked for: it listens on this machine alone, and everyone there is an admin. The connection
chatbase_default leads to the simulator; trigger the DAG as often as you like. Ctrl-C ends all of it."""


class Demo:
    """
    Run the example DAG in a real Airflow against a Chatbase, and show what it did.

    :param folder: holds everything that the demo writes.
    :param dag_file: the example DAG.
    :param setup_seconds: what the set-up before this program took.
    """

    def __init__(self, folder: Path, dag_file: Path, screen: Screen, setup_seconds: float) -> None:
        self._folder = folder
        self._dag_file = dag_file
        self._screen = screen
        self._stopwatch = Stopwatch()
        self._task_seconds: dict[str, float] = {}
        self._stopwatch.add("setup", setup_seconds)
        (folder / "logs").mkdir(parents=True)
        self._children = ChildProcesses(folder / "logs")
        self._promises: Promises | None = None
        self._stay = False
        self.picture: Path | None = None

    def run(
        self, environment: Mapping[str, str], *, live: bool = False, sure: bool = False, stay: bool = False
    ) -> None:
        """
        Run the demo; nothing that it started runs on after it.

        :param live: whether it is against the agent that the environment names.
        :param sure: whether to go on without asking.
        :param stay: whether to go on until it is interrupted, when everything is done.
        :raises DemoError: something failed, and the message says what.
        """
        self._stay = stay
        if live:
            self._run_live(environment, sure=sure)
            return
        if environment.get("CHATBASE_API_KEY"):
            self._screen.happened("CHATBASE_API_KEY is set, and not used: that would take --live")
        self._screen.section("What will happen", WHAT_WILL_HAPPEN)
        self._run_until_stopped(lambda: self._simulator(environment), {})
        self._screen.section("What to do next", NEXT)

    def _run_live(self, environment: Mapping[str, str], *, sure: bool) -> None:
        service = service_of(environment)
        if service is None:
            raise DemoError("--live takes the agent from CHATBASE_API_KEY and CHATBASE_AGENT_ID: set them.")
        check_that_it_answers(service)
        agent = LiveAgent(service, self._folder.with_name(".demo-agent-before.json"))
        self._screen.section("The agent that will be changed", agent.look())
        if not (sure or self._screen.agrees("Change this agent, and pay for one answer?")):
            raise DemoError("Nothing was changed. Where nobody can be asked, --yes agrees.")
        agent.keep()
        try:
            params = {"instructions": INSTRUCTIONS, "source_name": agent.source_name}
            self._run_until_stopped(lambda: service, params)
        finally:
            with undisturbed():
                self._screen.happened(agent.put_back())

    def _run_until_stopped(self, begin: Callable[[], ChatbaseService], params: Mapping[str, str]) -> None:
        try:
            service = begin()
            airflow = self._airflow(service)
            with self._stopwatch.phase(report.DAG_RUN), airflow.api() as api:
                self._run_dag(api, service, airflow, params)
            if self._stay:
                self._stay_up(airflow)
        finally:
            self._screen.waiting_for("Stopping what was started")
            with self._stopwatch.phase("stop"):
                self._children.stop()
        self._screen.section(
            "Where the time went", report.seconds(self._stopwatch.seconds, self._task_seconds)
        )

    def _simulator(self, environment: Mapping[str, str]) -> ChatbaseService:
        self._screen.waiting_for("Starting the simulator")
        with self._stopwatch.phase("simulator start"):
            service = start_simulator(self._children, self._folder, environment)
        self._screen.happened(f"The simulator stands in for Chatbase, at {service.address}")
        self._promises = Promises(service.address)
        return service

    def _airflow(self, service: ChatbaseService) -> AirflowInstance:
        connections = {CONNECTION: service.airflow_connection()}
        airflow = AirflowInstance(self._folder / "airflow", self._dag_file, connections)
        with self._stopwatch.phase("Airflow start"):
            self._screen.waiting_for("Making Airflow's database")
            airflow.prepare()
            self._screen.happened("Airflow's database is made")
            self._screen.waiting_for("Starting Airflow: api-server, scheduler, dag-processor, triggerer")
            airflow.start(self._children)
            for component in airflow.components_as_they_become_healthy(self._children):
                self._screen.happened(f"Airflow's {component.replace('_', '-')} is healthy")
        return airflow

    def _run_dag(
        self, api: AirflowApi, service: ChatbaseService, airflow: AirflowInstance, params: Mapping[str, str]
    ) -> None:
        self._screen.waiting_for(f"Airflow reads {self._dag_file.name}")
        wait_until_parsed(api, self._children)
        export_folder = self._folder / "export"
        conf = {**params, "agent_id": service.agent_id, "output_path": f"file://{export_folder}"}
        run = DagRun(api, conf)
        self._screen.happened(f"Airflow has the DAG {DAG_ID} and runs it on agent {service.agent_id}")
        self._screen.waiting_for("The scheduler starts the first task")
        sections = Sections(run, airflow.logs, export_folder)
        failed: list[str] = []
        for task in run.changes(self._children, self._do_harm):
            self._tell(task)
            if task.state == "up_for_retry":
                self._screen.failed(task_logs.error_line(airflow.logs, task.task_id) or "")
            if task.state == "failed":
                failed.append(task.task_id)
            if task.state == "success":
                for title, content in sections.after(task.task_id):
                    self._screen.section(title, content)
        if run.state != "success":
            raise DemoError(_why(failed, airflow))
        self._prove(run, export_folder)

    def _do_harm(self) -> None:
        if self._promises and (done := self._promises.kill_the_export(self._folder / "export")):
            self._screen.happened(done)
            self._screen.waiting_for("Airflow notices that the process is gone, and tries the task again")

    def _prove(self, run: DagRun, export_folder: Path) -> None:
        if self._promises is None:
            return
        manifest = json.loads(manifest_of(run.returned("export"), export_folder).read_bytes())
        table = report.proofs(self._promises.proofs(run.returned("ask"), export_folder, manifest))
        self._screen.section(PROOFS, table)
        if self.picture:
            report.draw(table, self.picture)
            self._screen.happened(f"The table is drawn in {self.picture.name}")

    def _stay_up(self, airflow: AirflowInstance) -> None:
        self._screen.section("Airflow stays up", STAYS.format(page=airflow.page_of(DAG_ID)))
        self._screen.waiting_for("Airflow is up; Ctrl-C ends it")
        try:
            while True:
                self._children.check()
                time.sleep(0.5)
        except KeyboardInterrupt:
            self._screen.happened("Ctrl-C: everything that was started ends")

    def _tell(self, task: TaskState) -> None:
        news = TASK_NEWS.get(str(task.state))
        if news is None:
            return
        if task.state in {"success", "failed"} and task.seconds is not None:
            news += f" after {task.seconds:.1f} s"
            self._task_seconds[task.task_id] = task.seconds
        self._screen.happened(f"{task.task_id} {news}")
        self._screen.waiting_for(f"{task.task_id} {news}")


def _why(failed: list[str], airflow: AirflowInstance) -> str:
    errors = [
        f"{task_id}: {task_logs.error_line(airflow.logs, task_id) or 'no error in its log'}"
        for task_id in failed
    ]
    return "\n".join(["The DAG run failed.", *errors, f"The logs are in {airflow.logs}"])
