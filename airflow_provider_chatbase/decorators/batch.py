"""``@task.chatbase_batch``: a function makes the prompts, the task asks them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    DecoratedOperator,
    TaskDecorator,
    task_decorator_factory,
)

from airflow_provider_chatbase.client.alarm import alarm_kept
from airflow_provider_chatbase.decorators.chat import FunctionTask
from airflow_provider_chatbase.operators.batch import ChatbaseBatchPromptOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class _ChatbaseDecoratedBatchOperator(FunctionTask, ChatbaseBatchPromptOperator):
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *ChatbaseBatchPromptOperator.template_fields,
    )
    custom_operator_name: str = "@task.chatbase_batch"
    made = "prompts"

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Let the function make the prompts, and ask them.

        :param context: the task's context.
        :return: the manifest and where it is.
        """
        with alarm_kept():
            self.prompts = self.returned(context)
            return ChatbaseBatchPromptOperator.execute(self, context)


def chatbase_batch_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """
    Make a task that asks an agent all that a function returns, each once.

    The function returns what ``prompts`` of ``ChatbaseBatchPromptOperator`` takes: a list of texts or
    objects, also as it is made, a DataFrame or an Arrow table. It is not rendered as a template.

    :param python_callable: the function.
    :param kwargs: arguments of ``ChatbaseBatchPromptOperator`` but ``prompts``.
    """
    kwargs.setdefault("multiple_outputs", False)
    return task_decorator_factory(
        python_callable=python_callable,
        decorated_operator_class=_ChatbaseDecoratedBatchOperator,
        **kwargs,
    )
