"""What all tasks share: connection, agent, which task instance it is, what an earlier try did, deferral."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, conf
from airflow.sdk import BaseOperator, BaseOperatorLink

from airflow_provider_chatbase.exceptions import (
    ChatbaseError,
    ChatbaseInputError,
    ChatbaseTrainingError,
    ChatbaseTrainingTimeoutError,
    fail_at_once,
)
from airflow_provider_chatbase.hooks.task_instance import current_context
from airflow_provider_chatbase.links import ChatbaseAgentLink

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_chatbase.client import ChatbaseClient
    from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook
    from airflow_provider_chatbase.training import Verdict

SLACK = timedelta(seconds=60)
"""Airflow's own limit on the deferral comes after ours, whose message says what was seen last."""

V1_SETTLES_AFTER = 10.0
"""Seconds after a write during which v1, which has no status of a source, may show the state before it."""

INSTEAD = {"agent_id": "the connection's default agent does", "source_ids": "the agent as a whole does"}
"""What stands for an argument that is not given."""


@contextmanager
def require_promised(task: Any) -> Iterator[None]:
    """Refuse, around the rendering, to go by a default where an upstream task was to name something."""
    promised = [name for name in INSTEAD if hasattr(getattr(task, name, None), "resolve")]
    yield
    for name in promised:
        if getattr(task, name) is None:
            with fail_at_once():
                raise ChatbaseInputError(
                    f"{name} was to come from an upstream task, which returned none; {INSTEAD[name]} not "
                    "take its place. Fields of what a task returns are handed on with multiple_outputs=True. "
                    "Nothing was sent."
                )


def time_to_run(task: Any, context: Context) -> float:
    """Return the seconds until a task's ``execution_timeout``, which Airflow forgets while it is deferred."""
    began = getattr(context.get("ti"), "start_date", None)
    if task.execution_timeout is None or began is None:
        return float("inf")
    return float(task.execution_timeout.total_seconds() - (time.time() - began.timestamp()))


def require_time_to_run(task: Any, time_was_over: bool, seen: str) -> None:
    """Raise what Airflow raises when a task's ``execution_timeout`` is over, if a deferred wait ended so."""
    if time_was_over:
        raise AirflowTaskTimeout(
            f"The task's execution_timeout of {task.execution_timeout} is over. Last seen: {seen}"
        )


def defers(deferrable: bool | None) -> bool:
    """Say whether a task waits in the triggerer: as it says itself, else as Airflow is configured."""
    if deferrable is None:
        return bool(conf.getboolean("operators", "default_deferrable", fallback=False))
    return read_flag("deferrable", deferrable)


def read_flag(name: str, value: Any) -> bool:
    """Read a boolean, which a template may have made text: any text but an empty one is true in Python."""
    if isinstance(value, bool):
        return value
    text = value.strip().lower() if isinstance(value, str) else ""
    if text not in ("true", "false"):
        raise ChatbaseInputError(f"{name} must be true or false, not {value!r}. Nothing was sent.")
    return text == "true"


def read_number(name: str, value: Any) -> float:
    """Read a number, which a template may have made text; a whole one stays an int."""
    found = value
    if isinstance(value, str):
        with suppress(ValueError):
            found = float(value)
        with suppress(ValueError):
            found = int(value)
    if isinstance(found, bool) or not isinstance(found, int | float) or not isfinite(found):
        raise ChatbaseInputError(f"{name} must be a number, not {value!r}. Nothing was sent.")
    return found


def read_given(path: str, conn_id: str | None, *, argument: str) -> bytes:
    """Read a file that an argument names, on any storage that Airflow knows."""
    from airflow_provider_chatbase.files import ChatbaseOutputError
    from airflow_provider_chatbase.files.directory import open_file

    directory, name = open_file(path, conn_id, argument=argument)
    content = directory.read(name)
    if content is None:
        raise ChatbaseOutputError(f"{argument} {path} cannot be read: there is no such file.")
    return content


class ChatbaseOperator(BaseOperator):
    """
    An operator with a connection to Chatbase and an agent.

    :param agent_id: the agent; by default the connection's.
    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    template_fields: Sequence[str] = ("agent_id", "chatbase_conn_id")
    operator_extra_links: Sequence[BaseOperatorLink] = (ChatbaseAgentLink(),)

    linked_agent_id: str | None = None
    """The agent that the link leads to, where it is not the one that the task was given; empty for none."""

    flags: ClassVar[Sequence[str]] = ()
    """Arguments that are true or false, also as text. What may be left out is ``None`` then."""

    numbers: ClassVar[Sequence[str]] = ()
    """Arguments that are numbers, also as text."""

    texts: ClassVar[Sequence[str]] = ("agent_id", "chatbase_conn_id")
    """Templates that make texts, also with ``render_template_as_native_obj``: a message of 2024 is one."""

    lists_of_texts: ClassVar[Sequence[str]] = ()
    """Lists and objects, in which this is so; a single template for the whole may make one of them."""

    def __init__(
        self, *, agent_id: str | None = None, chatbase_conn_id: str = "chatbase_default", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.agent_id = agent_id
        self.chatbase_conn_id = chatbase_conn_id

    def pre_execute(self, context: Context) -> None:
        """Show the links while the task runs; Airflow itself makes them when it ends or is deferred."""
        ti: Any = context["ti"]
        for link in self.operator_extra_links:
            ti.xcom_push(key=link.xcom_key, value=link.get_link(self, ti_key=ti))

    @contextmanager
    def hook(self) -> Iterator[ChatbaseHook]:
        """
        Open a hook for a block, and close it at its end.

        :raises ChatbasePermanentError: in place of an error that a retry of the task cannot mend.
        """
        with fail_at_once():  # around the import too: a task's time-out may strike in it
            from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

            with ChatbaseHook(self.chatbase_conn_id) as hook:
                self._read_arguments()
                yield hook

    def _do_render_template_fields(
        self, parent: Any, template_fields: Any, context: Context, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        """Render what Airflow would, but texts as texts, and nothing that an upstream task handed on."""
        seen_oids |= {id(value) for value in self._handed_on(context)}
        left = []
        for name in template_fields:
            value = getattr(parent, name)
            is_text = isinstance(value, str) if name in self.texts else not isinstance(value, str)
            if name in (*self.texts, *self.lists_of_texts) and is_text and not callable(value):
                setattr(parent, name, self._rendered_as_text(value, context, jinja_env, seen_oids))
            else:
                left.append(name)
        with require_promised(parent):
            super()._do_render_template_fields(parent, left, context, jinja_env, seen_oids)

    def _rendered_as_text(self, value: Any, context: Context, jinja_env: Any, seen_oids: set[int]) -> Any:
        arguments = context, jinja_env, seen_oids
        if id(value) in seen_oids:
            return value
        if isinstance(value, list | tuple):
            return [self._rendered_as_text(each, *arguments) for each in value]
        if isinstance(value, dict):
            return {key: self._rendered_as_text(each, *arguments) for key, each in value.items()}
        rendered, dag = self.render_template(value, *arguments), self.get_dag()
        if not isinstance(value, str) or rendered is None or dag is None:
            return rendered
        own = getattr(self, "render_template_as_native_obj", None)
        if not (dag.render_template_as_native_obj if own is None else own):
            return rendered
        # Airflow may have made an object of the text, or taken its quotes off.
        return dag.get_template_env(force_sandboxed=True).from_string(value).render(context)

    def _handed_on(self, context: Context) -> list[Any]:
        """Return what upstream tasks gave by ``expand_kwargs``: Airflow takes it for the DAG's own words."""
        dag = self.get_dag()
        mapped: Any = dag and dag.task_dict.get(self.task_id)
        given: Any = getattr(getattr(mapped, getattr(mapped, "_expand_input_attr", ""), None), "value", None)
        if isinstance(given, list | tuple):
            given = given[context["ti"].map_index or 0]
        if given is None or isinstance(given, dict):
            return []
        partial = mapped.partial_kwargs
        own, of_function = vars(self), vars(self).get("op_kwargs") or {}
        return [
            *(value for name, value in own.items() if name in self.template_fields and name not in partial),
            *(value for name, value in of_function.items() if name not in (partial.get("op_kwargs") or {})),
        ]

    def _read_arguments(self) -> None:
        for names, read in ((self.flags, read_flag), (self.numbers, read_number)):
            for name in names:
                value = getattr(self, name)
                setattr(self, name, None if value is None else read(name, value))


class TrainingTask(ChatbaseOperator):
    """
    An operator that writes what an agent learns, and may wait until it has.

    It waits for the sources that it wrote, so the state from before never passes for theirs.

    :param wait_for_training: whether to wait.
    :param deferrable: wait in the triggerer; by default as Airflow's ``[operators] default_deferrable`` says.
    :param poll_interval: seconds between polls.
    :param training_timeout: seconds after which the task gives up waiting and fails.
    :param max_poll_failures: how many polls in a row may fail on the network or the server.
    """

    flags: ClassVar[Sequence[str]] = ("wait_for_training", "deferrable")
    numbers: ClassVar[Sequence[str]] = ("poll_interval", "training_timeout", "max_poll_failures")
    template_fields: Sequence[str] = (*ChatbaseOperator.template_fields, *flags, *numbers)

    def __init__(
        self,
        *,
        wait_for_training: bool = False,
        deferrable: bool | None = None,
        poll_interval: float = 15.0,
        training_timeout: float = 3600.0,
        max_poll_failures: int = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.wait_for_training = wait_for_training
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.training_timeout = training_timeout
        self.max_poll_failures = max_poll_failures

    def await_training(
        self, client: ChatbaseClient, agent_id: str, source_ids: Sequence[str] | None, result: dict[str, Any]
    ) -> dict[str, Any]:
        """Wait until sources are trained, without any the agent as a whole; return the result then."""
        from airflow_provider_chatbase.training import TrainingOutcome, TrainingWait, poll_once

        deadline = time.time() + self.training_timeout
        trust_from = time.time() + V1_SETTLES_AFTER if source_ids is None else None
        wait = TrainingWait(self.max_poll_failures, deadline, trust_from)
        while True:
            verdict = poll_once(wait, client, agent_id, source_ids, self.log)
            if verdict.outcome is not TrainingOutcome.WAITING:
                return self._end_wait(verdict, result)
            if defers(self.deferrable):
                wait_in_triggerer(
                    self,
                    agent_id,
                    source_ids,
                    deadline=deadline,
                    poll_interval=self.poll_interval,
                    carry=result,
                    trust_from=trust_from,
                )
            if not wait.left(time.time()):
                return self._end_wait(wait.too_late(), result)
            time.sleep(min(self.poll_interval, wait.left(time.time())))

    def execute_complete(
        self,
        context: Context,
        event: dict[str, Any] | None = None,
        time_was_over: bool = False,
        **_: Any,
    ) -> dict[str, Any]:
        """
        Go by what the trigger found.

        :param context: the task's context.
        :param event: the trigger's event.
        :param time_was_over: whether a wait that ended without a result ended by ``execution_timeout``.
        :return: the task's result, from before the wait.
        :raises ChatbaseTrainingError: when training failed.
        """
        with fail_at_once():
            from airflow_provider_chatbase.training import TrainingOutcome, Verdict

            carried = event.get("carry") if isinstance(event, dict) else None
            verdict = Verdict.from_event(event if isinstance(carried, dict) else None)
            self.log.info(verdict.reason)
            self.linked_agent_id = (carried or {}).get("agent_id")
            if verdict.outcome is TrainingOutcome.TIMEOUT:
                require_time_to_run(self, time_was_over, f"{verdict.reason} Everything is written.")
            return self._end_wait(verdict, carried or {})

    def _end_wait(self, verdict: Verdict, result: dict[str, Any]) -> dict[str, Any]:
        from airflow_provider_chatbase.training import TrainingOutcome

        if verdict.outcome is TrainingOutcome.TIMEOUT:
            raise ChatbaseTrainingTimeoutError(
                f"Not trained within {self.training_timeout:g} s. Last seen: {verdict.reason} Everything is "
                "written; run the task again to go on waiting."
            )
        require_trained(verdict, "Mend the sources and run this task again.")
        return result


def require_trained(verdict: Verdict, advice: str) -> None:
    """Raise what a wait for training has ended with, unless it is training that is done."""
    from airflow_provider_chatbase.training import TrainingOutcome

    if verdict.outcome is TrainingOutcome.FAILED:
        raise ChatbaseTrainingError(f"Training failed. {verdict.reason} {advice}")
    if verdict.outcome is not TrainingOutcome.TRAINED:
        error = ChatbaseError(verdict.reason)
        error.permanent = verdict.permanent
        raise error


def wait_in_triggerer(
    task: Any,
    agent_id: str | None,
    source_ids: Sequence[str] | None,
    *,
    deadline: float,
    context: Context | None = None,
    **arguments: Any,
) -> NoReturn:
    """Defer a task with a connection and ``max_poll_failures`` until its trigger knows how training went."""
    from airflow_provider_chatbase.triggers.training import ChatbaseTrainingTrigger

    time_is_over = time.time() + time_to_run(task, context or current_context())
    # Airflow before 3.1 forgets at the end of the wait when the task began.
    kwargs = {"time_was_over": True} if time_is_over < deadline else None
    deadline = min(deadline, time_is_over)
    trigger = ChatbaseTrainingTrigger(
        chatbase_conn_id=task.chatbase_conn_id,
        agent_id=agent_id or None,
        source_ids=None if source_ids is None else list(source_ids),
        deadline=deadline,
        max_poll_failures=task.max_poll_failures,
        **arguments,
    )
    timeout = timedelta(seconds=max(deadline - time.time(), 0.0)) + SLACK
    task.defer(trigger=trigger, method_name="execute_complete", kwargs=kwargs, timeout=timeout)
    raise AssertionError("defer() raises")
