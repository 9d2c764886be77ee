"""
The verbs that both versions of the API have: the only place that knows which version answers one, and how.

What only one version has is called from :mod:`.v1` or :mod:`.v2` directly; the clients refuse it where the
connection does not speak that version.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_chatbase.client import v1
from airflow_provider_chatbase.client.answer import Answer
from airflow_provider_chatbase.client.errors import ChatbaseInputError, ChatbaseUnsupportedError
from airflow_provider_chatbase.client.question import Question
from airflow_provider_chatbase.client.replies import Page
from airflow_provider_chatbase.client.request import ApiVersion, JsonObject, Request, Steps, require_user_id
from airflow_provider_chatbase.client.v2 import agents, conversations

log = logging.getLogger(__name__)

_SPEAK_V2 = "Set api_version to v2 in the connection, if the Chatbase plan has API v2."


@dataclass(frozen=True, slots=True)
class Api:
    """The API as a connection speaks it. What a version cannot do is asked by the name of what it is."""

    version: ApiVersion = "v2"

    @property
    def keeps_messages(self) -> bool:
        """Whether messages have ids, users, scores and known costs, so that they can be looked for."""
        return self.version == "v2"

    @property
    def has_sources(self) -> bool:
        """Whether an agent's sources can be read and written one by one; v1 has one text per agent."""
        return self.version == "v2"

    @property
    def shows_all_settings(self) -> bool:
        """Whether an agent is shown with all its settings: what v1 leaves out cannot be said to differ."""
        return self.version == "v2"

    def unsupported(
        self, what: str, instead: str = _SPEAK_V2, operation: str | None = None
    ) -> ChatbaseUnsupportedError:
        """Return the error that says what this version cannot do, and the way out."""
        return ChatbaseUnsupportedError(
            f"API {self.version} cannot {what}. {instead} Nothing was sent.", operation=operation
        )

    def require(self, request: Request[Any]) -> None:
        """Refuse an operation that this version does not have; v1's are there for v2 too."""
        if self.version == "v1" and request.version == "v2":
            raise ChatbaseUnsupportedError(
                f"{request.operation} is an operation of API v2, and the connection speaks v1. {_SPEAK_V2} "
                "Nothing was sent.",
                operation=request.operation,
            )

    def list_agents(self, *, limit: int = 100) -> Request[Page]:
        """List the agents: ``listAgents``, ``getChatbots``."""
        return v1.list_agents() if self.version == "v1" else agents.list_agents(limit=limit)

    def get_agent(self, agent_id: str) -> Request[JsonObject]:
        """Get an agent with its training status: ``getAgent``, ``getChatbots``."""
        return v1.get_agent(agent_id) if self.version == "v1" else agents.get_agent(agent_id)

    def create_agent(
        self, name: str, settings: JsonObject, *, url: str | None = None, source_text: str | None = None
    ) -> Request[JsonObject]:
        """Create an agent, with what can be set at once: ``createAgent``, ``createChatbot``."""
        if self.version == "v1":
            if url:
                raise self.unsupported(
                    "create an agent from a url",
                    "Give source_text, or set api_version to v2 in the connection.",
                )
            v1.in_words_of_v1(settings)  # what it cannot set is refused before the agent is there
            return v1.create_agent(name, source_text)
        if source_text is not None:
            raise self._no_source_text()
        body = {each: settings[each] for each in agents.SET_AT_CREATION if each in settings}
        return agents.create_agent({"name": name, **body, **({"url": url} if url else {})})

    def update_agent(self, agent_id: str, settings: JsonObject) -> list[Request[JsonObject]]:
        """Change settings: ``updateAgent``, ``updateAgentStyles`` and …, ``updateChatbotSettings``."""
        if self.version == "v1":
            return [v1.update_settings(agent_id, v1.in_words_of_v1(settings))]
        return agents.update_settings(agent_id, settings)

    def delete_agent(self, agent_id: str) -> Request[JsonObject]:
        """Delete an agent, for good: ``deleteAgent``, ``deleteChatbot``."""
        return v1.delete_agent(agent_id) if self.version == "v1" else agents.delete_agent(agent_id)

    def replace_text(self, agent_id: str, text: str, name: str | None = None) -> Steps[None]:
        """Replace all that an agent knows by one text, on v1: ``updateChatbotData``."""
        if self.version != "v1":
            raise self._no_source_text()
        agent: JsonObject = yield v1.get_agent(agent_id)
        yield v1.replace_text(agent_id, name or str(agent.get("name")), text)

    def send_message(self, question: Question) -> Request[Answer]:
        """Ask an agent, or let it go on after the results of its tools: ``chatWithAgent``, ``chat``."""
        if question.user_id is not None:
            require_user_id(question.user_id)
        return self._send_v1(question) if self.version == "v1" else self._send_v2(question)

    def list_conversations(
        self,
        agent_id: str,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        conversation_id: str | None = None,
        channels: Sequence[str] = (),
        summary: bool = False,
    ) -> Request[Page]:
        """List those of a time, on v1 of its days: ``exportConversations``, ``getConversations``."""
        if self.version == "v1":
            if conversation_id is not None:
                raise self.unsupported("get a single conversation", operation="getConversations")
            first_day = None if start is None else start.date()
            last_day = None if end is None else (end - timedelta(seconds=1)).date()
            return v1.get_conversations(agent_id, first_day=first_day, last_day=last_day, sources=channels)
        return conversations.export_conversations(
            agent_id,
            start=start,
            end=end,
            conversation_id=conversation_id,
            sources=channels,
            summary=summary,
        )

    def _send_v1(self, question: Question) -> Request[Answer]:
        if question.user_id:
            log.warning("API v1 has no user ids: user_id is not sent.")
        return v1.send_message(
            question.agent_id,
            question.message,
            history=question.history,
            conversation_id=question.conversation_id,
            model=question.model,
            temperature=question.temperature,
            stream=question.stream,
            on_text=question.on_text,
        )

    def _send_v2(self, question: Question) -> Request[Answer]:
        if question.model is not None or question.temperature is not None:
            raise ChatbaseUnsupportedError(
                "API v2 takes no model or temperature with a message: set them on the agent "
                "(ChatbaseUpdateAgentOperator), or use a connection with api_version v1. Nothing was sent."
            )
        if question.history and question.conversation_id is None:
            raise ChatbaseInputError(
                "API v2 keeps the history itself: give conversation_id, or an earlier result as history. "
                "Nothing was sent."
            )
        return conversations.send_message(
            question.agent_id,
            question.message,
            conversation_id=question.conversation_id,
            user_id=question.begins_as,
            stream=question.stream,
            on_text=question.on_text,
        )

    def _no_source_text(self) -> ChatbaseUnsupportedError:
        return ChatbaseUnsupportedError(
            "source_text is a way of API v1. On v2 give the agent its texts with "
            "ChatbaseSyncSourcesOperator. Nothing was sent."
        )
