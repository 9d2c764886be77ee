"""One run of the example DAG, watched from its start to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from quickstart_demo.airflow_api import ENDED, AirflowApi, TaskState
from quickstart_demo.child_processes import ChildProcesses
from quickstart_demo.errors import DemoError

DAG_ID = "chatbase_quickstart"
SECONDS_TO_PARSE = 60
SECONDS_TO_RUN = 1800


def wait_until_parsed(api: AirflowApi, children: ChildProcesses) -> None:
    """Return once Airflow knows the DAG; raise ``DemoError`` when its file cannot be imported."""
    deadline = time.monotonic() + SECONDS_TO_PARSE
    while not api.knows_dag(DAG_ID):
        children.check()
        if errors := api.import_errors():
            raise DemoError("Airflow cannot import the DAG:\n" + "\n".join(errors))
        if time.monotonic() > deadline:
            raise DemoError(f"Airflow did not find the DAG {DAG_ID} within {SECONDS_TO_PARSE} s.")
        time.sleep(0.2)


class DagRun:
    """
    A run of the DAG, started at once.

    :param conf: overrides the DAG's params.
    """

    def __init__(self, api: AirflowApi, conf: dict[str, Any]) -> None:
        self._api = api
        self.run_id = api.trigger(DAG_ID, conf)
        self.state = "queued"

    def changes(self, children: ChildProcesses, meanwhile: Callable[[], None]) -> Iterator[TaskState]:
        """Yield every task whose state is seen to have changed, until the run has ended."""
        deadline = time.monotonic() + SECONDS_TO_RUN
        last: dict[str, str | None] = {}
        while self.state not in ENDED:
            children.check()
            meanwhile()
            if time.monotonic() > deadline:
                raise DemoError(f"The DAG run did not end within {SECONDS_TO_RUN} s.")
            self.state = self._api.run_state(
                DAG_ID, self.run_id
            )  # before the tasks: the last look sees them all
            for task in self._api.tasks(DAG_ID, self.run_id):
                if task.state != last.get(task.task_id):
                    last[task.task_id] = task.state
                    yield task
            time.sleep(0.2)

    def returned(self, task_id: str) -> Any:
        """Return what a task returned."""
        return self._api.returned_value(DAG_ID, self.run_id, task_id)

    def rendered_fields(self, task_id: str) -> dict[str, Any]:
        """Return a task's template fields as they were rendered."""
        [task] = [task for task in self._api.tasks(DAG_ID, self.run_id) if task.task_id == task_id]
        return task.rendered_fields
