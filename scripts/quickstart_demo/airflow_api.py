"""The few calls of Airflow's REST API that the demo needs."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import httpx

ENDED = frozenset({"success", "failed"})


@dataclasses.dataclass(frozen=True)
class TaskState:
    """
    A task of a DAG run, as Airflow sees it now.

    :param seconds: from its first start to its end, None before that.
    :param rendered_fields: its template fields as they were rendered.
    """

    task_id: str
    state: str | None
    seconds: float | None
    rendered_fields: dict[str, Any]


class AirflowApi:
    """
    A client of Airflow's REST API.

    :param url: of an api-server at which everyone is an admin.
    """

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=30)

    def __enter__(self) -> Self:
        token = self._http.get("/auth/token").raise_for_status().json()["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def knows_dag(self, dag_id: str) -> bool:
        """Say whether Airflow has parsed this DAG."""
        return self._http.get(f"/api/v2/dags/{dag_id}").status_code == httpx.codes.OK

    def import_errors(self) -> list[str]:
        """Return the tracebacks of the DAG files that could not be imported."""
        return [error["stack_trace"] for error in self._get("/api/v2/importErrors")["import_errors"]]

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Start a run of a DAG and return the run's id."""
        reply = self._http.post(f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})
        run_id: str = reply.raise_for_status().json()["dag_run_id"]
        return run_id

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a DAG run."""
        state: str = self._get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"]
        return state

    def tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        """Return the run's tasks."""
        listing = self._get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances")
        return [
            TaskState(task["task_id"], task["state"], _seconds(task), task["rendered_fields"])
            for task in listing["task_instances"]
        ]

    def returned_value(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Return what a task returned."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        return self._get(path)["value"]

    def _get(self, path: str) -> Any:
        return self._http.get(path).raise_for_status().json()


def _seconds(task: dict[str, Any]) -> float | None:
    # Not the task's own `duration`: 3.0 counts the time before a deferral twice.
    if not (task["start_date"] and task["end_date"]):
        return None
    ran = datetime.fromisoformat(task["end_date"]) - datetime.fromisoformat(task["start_date"])
    return ran.total_seconds()
