"""Which task instance is running, and what an earlier try of it may have done."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from airflow.sdk import get_current_context

if TYPE_CHECKING:
    from airflow.sdk import Context


class TaskIdentity(NamedTuple):
    """A task instance: the same in all of its tries, also after a clear; another in each run."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int

    def __str__(self) -> str:
        return " ".join(map(str, self))


def task_identity(context: Context) -> TaskIdentity | None:
    """Say which task instance this is; ``None`` outside of Airflow."""
    ti = context.get("ti")
    if ti is None:
        return None
    map_index = -1 if ti.map_index is None else ti.map_index
    return TaskIdentity(ti.dag_id, ti.run_id, ti.task_id, map_index)


def earlier_try_began(context: Context) -> float | None:
    """Say when an earlier try may have begun its work, in seconds since the epoch; ``None`` in the first."""
    ti = context.get("ti")
    if ti is None or ti.try_number <= 1:
        return None
    run = context["dag_run"]
    # Clearing a finished run makes it start anew; when it was due stays as it was.
    began = run.run_after if run.clear_number else run.start_date or run.run_after
    return began.timestamp()


def current_context() -> Context:
    """Return the context of the task that runs; an empty one outside of Airflow."""
    try:
        context: Context = get_current_context()
    except RuntimeError:
        context = {}
    return context
