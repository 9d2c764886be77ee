"""``@task.chatbase``: a function makes the message, the task returns the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    SET_DURING_EXECUTION,
    DecoratedOperator,
    TaskDecorator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)

from airflow_provider_chatbase.client.alarm import alarm_kept
from airflow_provider_chatbase.exceptions import ChatbaseInputError, fail_at_once
from airflow_provider_chatbase.operators.chat import ChatbaseSendMessageOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

SETTABLE = frozenset(ChatbaseSendMessageOperator.template_fields)
"""Arguments of the operator that the function may return."""


class FunctionTask(DecoratedOperator):
    """A task whose operator gets one of its arguments from a function, when it runs."""

    made: ClassVar[str]
    """The argument that the function makes."""

    template_fields_renderers: ClassVar[dict[str, str]] = {**DecoratedOperator.template_fields_renderers}

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Sequence[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs[self.made] = SET_DURING_EXECUTION
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, **kwargs)

    def returned(self, context: Context) -> Any:
        """Call the function with the arguments and what it asks for of the context."""
        context_merge(context, self.op_kwargs)
        arguments = determine_kwargs(self.python_callable, self.op_args, context)
        return self.python_callable(*self.op_args, **arguments)


class _ChatbaseDecoratedOperator(FunctionTask, ChatbaseSendMessageOperator):
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *ChatbaseSendMessageOperator.template_fields,
    )
    custom_operator_name: str = "@task.chatbase"
    made = "message"

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Let the function make the message, and send it.

        :param context: the task's context.
        :return: the answer.
        """
        with alarm_kept():
            for name, value in _arguments(self.returned(context)).items():
                # As it is: in a text that others wrote, braces must not read connections and variables.
                setattr(self, name, value)
            return ChatbaseSendMessageOperator.execute(self, context)


def _arguments(returned: Any) -> dict[str, Any]:
    if isinstance(returned, str):
        return {"message": returned}
    unknown = (
        sorted(str(name) for name in set(returned) - SETTABLE) if isinstance(returned, dict) else ["no dict"]
    )
    if unknown or "message" not in returned:
        error = ChatbaseInputError(
            "A function under @task.chatbase returns the message, or a dict with message and any of "
            f"{', '.join(sorted(SETTABLE - {'message'}))}; this one returned "
            f"{type(returned).__name__} ({', '.join(unknown) or 'message is missing'}). Nothing was sent."
        )
        with fail_at_once():
            raise error
    return dict(returned)


def chatbase_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """
    Make a task that sends what a function returns to an agent, and returns the answer.

    The function returns the message, or a dict of arguments with ``message`` among them. What it returns is
    text and not rendered as a template; the arguments of the decorator and of the function are.

    :param python_callable: the function.
    :param kwargs: arguments of ``ChatbaseSendMessageOperator``.
    """
    # What the function is annotated to return are arguments; they say nothing about the answer's shape.
    kwargs.setdefault("multiple_outputs", False)
    return task_decorator_factory(
        python_callable=python_callable,
        decorated_operator_class=_ChatbaseDecoratedOperator,
        **kwargs,
    )
