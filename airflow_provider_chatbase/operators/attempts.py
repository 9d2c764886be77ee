"""What an attempt of a task can know of the attempts before it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk import Context


def earlier_attempt_since(context: Context) -> float | None:
    """
    Return since when an earlier attempt of this task may have done its work.

    :param context: the task's context.
    :return: the beginning of the DAG run, in seconds since the epoch; ``None`` at the first attempt.
    """
    attempt = getattr(context.get("ti"), "try_number", 1)
    if not isinstance(attempt, int) or attempt <= 1:
        return None
    began = getattr(context.get("dag_run"), "start_date", None)
    return began.timestamp() if isinstance(began, datetime) else None
