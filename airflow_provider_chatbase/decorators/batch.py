"""``@task.chatbase_batch``: a function makes the prompts, the task asks them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    SET_DURING_EXECUTION,
    DecoratedOperator,
    TaskDecorator,
    task_decorator_factory,
)

from airflow_provider_chatbase.decorators.chat import returned_by_function
from airflow_provider_chatbase.operators.batch import ChatbaseBatchPromptOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class _ChatbaseDecoratedBatchOperator(DecoratedOperator, ChatbaseBatchPromptOperator):
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *ChatbaseBatchPromptOperator.template_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {**DecoratedOperator.template_fields_renderers}
    custom_operator_name: str = "@task.chatbase_batch"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Sequence[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=op_kwargs,
            prompts=SET_DURING_EXECUTION,
            **kwargs,
        )

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Let the function make the prompts, and ask them.

        :param context: the task's context.
        :return: the manifest and where it is.
        """
        self.prompts = returned_by_function(self, context)
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
