"""A Chatbase agent as a tool of an Airflow agent: the managed-agent contract of Airflow's common.ai."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

from airflow_provider_chatbase.client import ChatbaseClient, RetryPolicy
from airflow_provider_chatbase.client.asking import Rules, ask
from airflow_provider_chatbase.client.errors import (
    ChatbaseAnswerError,
    ChatbaseError,
    ChatbaseInputError,
    ChatbaseToolCallError,
    ChatbaseUnansweredError,
    ChatbaseValidationError,
)
from airflow_provider_chatbase.client.question import Question, new_tag, tag_of
from airflow_provider_chatbase.client.request import require_text
from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook
from airflow_provider_chatbase.hooks.task_instance import (
    current_context,
    earlier_try_began,
    task_identity,
)

try:
    from airflow.providers.common.ai.exceptions import ManagedAgentInvocationError, ManagedAgentRejected
    from airflow.providers.common.ai.managed_agents.base import (
        BaseManagedAgentHook,
        BoundManagedAgent,
        ManagedAgentCapabilities,
        ManagedAgentRef,
        ManagedAgentRequest,
        ManagedAgentResponse,
    )
except ImportError as error:
    raise AirflowOptionalProviderFeatureException(
        "ChatbaseManagedAgentHook needs apache-airflow-providers-common-ai 1.0 or newer: "
        "pip install 'airflow-provider-chatbase[ai]'."
    ) from error

OPTIONS = ("user_id", "model", "temperature", "stream", "on_ambiguous")
"""What ``vendor_options`` may say. Nothing that leads to another agent, connection or conversation."""


class ChatbaseManagedAgentHook(ChatbaseHook, BaseManagedAgentHook):
    """
    Lets an agent of Airflow's common.ai (pydantic-ai) ask a Chatbase agent, as one of its tools.

    Give ``hook.agent("agent id")`` to a ``ManagedAgentToolset``; ``hook.agent()`` is the connection's
    default agent. Each question costs credits. A message whose reply was lost is looked for before it is
    sent again (API v2), and a later try of the same task finds the answers that an earlier one paid for, as
    long as the model asks the same questions.

    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    agent_platform = "chatbase.agent"

    def __init__(self, chatbase_conn_id: str = ChatbaseHook.default_conn_name) -> None:
        super().__init__(chatbase_conn_id)
        self._asked: dict[tuple[str, ...], count[int]] = {}

    def agent(self, agent: str = "") -> BoundManagedAgent:
        """
        Bind one agent, for a toolset.

        :param agent: the agent's id; by default the connection's.
        """
        return super().agent(agent)

    def resolve_agent(self, agent: str) -> ManagedAgentRef:
        """
        Say which agent this is.

        :param agent: the agent's id; empty for the connection's.
        """
        return ManagedAgentRef(platform=self.agent_platform, name=self.agent_or_default(agent))

    def get_agent_capabilities(self, agent: str) -> ManagedAgentCapabilities:  # noqa: ARG002 - the contract
        """
        Say what an agent can do: API v2 goes on with a conversation, whose id is the session's.

        :param agent: the agent's id; it is the same for all.
        """
        return ManagedAgentCapabilities(sessions=self.connection.settings.api_version == "v2", trace=True)

    def invoke_agent(self, agent: str, request: ManagedAgentRequest) -> ManagedAgentResponse:
        """
        Ask an agent and wait for its answer.

        :param agent: the agent's id; empty for the connection's.
        :param request: its ``timeout`` limits each request on its own: one whose reply was lost is looked
            for after it. ``vendor_options`` may hold ``user_id``, ``model``, ``temperature``, ``stream`` and
            ``on_ambiguous``, as in :meth:`send_message`.
        :raises ManagedAgentRejected: when other words may help: the model may try again.
        :raises ManagedAgentInvocationError: when neither that nor a retry helps.
        :raises ChatbaseError: when a retry of the task may help.
        """
        try:
            return self._ask(self.agent_or_default(agent), request)
        except (ChatbaseToolCallError, ChatbaseUnansweredError) as error:
            raise ManagedAgentInvocationError(str(error)) from error
        except ChatbaseAnswerError as error:
            if error.ambiguous:
                raise
            raise ManagedAgentRejected(str(error)) from error
        except ChatbaseValidationError as error:
            raise ManagedAgentRejected(str(error)) from error
        except ChatbaseError as error:
            if not error.permanent:
                raise
            raise ManagedAgentInvocationError(str(error)) from error

    def _ask(self, agent_id: str, request: ManagedAgentRequest) -> ManagedAgentResponse:
        options = _options(request.vendor_options)
        rules = Rules(on_ambiguous=options.pop("on_ambiguous", "reconcile"))
        with self._client_within(request.timeout) as client:
            answer = client.run(ask(client.api, self._question(agent_id, request, options), rules))
        return ManagedAgentResponse(
            text=answer.text,
            raw=answer.as_json(),
            session_id=answer.conversation_id,
            trace_ref=answer.message_id,
        )

    def _question(self, agent_id: str, request: ManagedAgentRequest, options: dict[str, Any]) -> Question:
        messages = _texts(request.as_messages())
        if not messages:
            raise ChatbaseInputError("There are no messages. Nothing was sent.")
        *earlier, prompt = messages
        if prompt["role"] != "user":
            raise ChatbaseInputError("The last of the messages must be the user's. Nothing was sent.")
        if earlier and self.connection.settings.api_version == "v2":
            raise ChatbaseInputError(
                "Several messages at once need API v1: on API v2 Chatbase keeps the conversation, so give "
                "the newest message and the session_id of the answer before. Nothing was sent."
            )
        try:
            require_text("The prompt", prompt["content"])
        except ChatbaseInputError as error:
            raise ManagedAgentRejected(str(error)) from error
        context = current_context()
        return self.question(
            prompt["content"],
            agent_id=agent_id,
            conversation_id=request.session_id,
            history=earlier,
            tag=self._tag(task_identity(context), agent_id, request.session_id or "", prompt["content"]),
            earlier_try_began=earlier_try_began(context),
            **options,
        )

    def _tag(self, identity: tuple[object, ...] | None, *asked: str) -> str:
        """Make the tag of a question: the same in all tries of a task, another when it is asked again."""
        if identity is None:
            return new_tag()
        return tag_of(*identity, *asked, next(self._asked.setdefault(asked, count(1))))

    def _client_within(self, timeout: float | None) -> ChatbaseClient:
        settings = self.connection.settings
        if timeout is None:
            return ChatbaseClient(settings)
        if isinstance(timeout, bool) or not 0 < timeout < float("inf"):
            raise ChatbaseInputError(
                f"timeout must be a number of seconds above 0, not {timeout!r}. Nothing was sent."
            )
        silence = min(settings.timeout or timeout, timeout)
        return ChatbaseClient(
            replace(settings, timeout=silence, total_timeout=timeout),
            RetryPolicy(max_attempts=settings.max_attempts, max_wait=min(60.0, timeout), deadline=timeout),
        )


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(given) - set(OPTIONS))
    if unknown:
        raise ChatbaseInputError(
            f"vendor_options may hold {', '.join(OPTIONS)}, not {', '.join(unknown)}. Nothing was sent."
        )
    return dict(given)


def _texts(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages with their texts alone; another kind of content cannot be sent."""
    return [{"role": each.get("role"), "content": _text(each.get("content"))} for each in messages]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts):
        raise ChatbaseInputError("A message must be text: Chatbase takes nothing else. Nothing was sent.")
    return "".join(part["text"] for part in parts)
