"""When a task is tried again: after the time that Chatbase asks for. From Airflow 3.3 on."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_chatbase.exceptions import ChatbaseError

if TYPE_CHECKING:
    from airflow.sdk import RetryPolicy
else:
    try:
        from airflow.sdk import RetryPolicy
    except ImportError:  # before Airflow 3.3, which leaves it unread among a DAG's default_args
        RetryPolicy = object


class ChatbaseRetryPolicy(RetryPolicy):
    """
    Lets a wait that Chatbase asks for become the task's retry delay, so that no worker waits for it.

    Give it as ``default_args={"retry_policy": ChatbaseRetryPolicy()}``, which Airflow before 3.3 ignores. How
    often a task is tried is still said by ``retries``; every other failure waits as long as the task says.

    :param longest: the longest wait that is believed.
    """

    def __init__(self, longest: timedelta = timedelta(hours=6)) -> None:
        self.longest = longest

    def evaluate(self, exception: BaseException, *_: Any, **__: Any) -> Any:
        """
        Say when the task is tried again.

        :param exception: what the task failed with.
        """
        from airflow.sdk import RetryDecision

        asked = exception.retry_after if isinstance(exception, ChatbaseError) else None
        if not asked:
            return RetryDecision.default()
        delay = timedelta(seconds=min(asked, self.longest.total_seconds()))
        return RetryDecision.retry(delay, f"Chatbase asks to wait {asked:g} s.")
