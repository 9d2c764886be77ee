"""A message for an agent: the request that sends it, and what to look for when its fate is unknown."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from airflow_provider_chatbase.client.checks import require_user_id
from airflow_provider_chatbase.client.errors import ChatbaseInputError, ChatbaseUnsupportedError
from airflow_provider_chatbase.client.lookup import Sought
from airflow_provider_chatbase.client.request import ApiVersion, JsonObject, Request
from airflow_provider_chatbase.client.v1 import chat as chat_v1
from airflow_provider_chatbase.client.v2 import chat as chat_v2

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """
    A message for an agent.

    :param agent_id: the agent.
    :param message: the text.
    :param conversation_id: the conversation to continue; ``None`` begins a new one.
    :param after_message_id: the last message of that conversation, where an earlier result told it.
    :param user_id: the caller's user id for a new conversation.
    :param tag: our own user id, used where the caller gave none.
    :param history: the earlier messages, for API v1.
    :param model: the model for this answer, for API v1.
    :param temperature: the temperature for this answer, for API v1.
    :param stream: have the answer sent as it is written.
    :param on_text: told each text of a stream.
    :param other_conversations: conversations of the same user that other messages are known to have begun.
    :param other_messages: messages of the conversation that are known to be others.
    """

    agent_id: str
    message: str
    conversation_id: str | None = None
    after_message_id: str | None = None
    user_id: str | None = None
    tag: str | None = None
    history: list[JsonObject] = field(default_factory=list, repr=False)
    model: str | None = None
    temperature: float | None = None
    stream: bool = False
    on_text: Callable[[str], None] | None = None
    other_conversations: frozenset[str] = frozenset()
    other_messages: frozenset[str] = frozenset()

    def request(self, version: ApiVersion) -> Request[JsonObject]:
        """
        Return the request that sends it.

        :param version: the API version to speak.
        :raises ChatbaseInputError: when an argument is wrong.
        :raises ChatbaseUnsupportedError: when the version cannot do what is asked.
        """
        if self.user_id is not None:
            require_user_id(self.user_id)
        return self._request_v1() if version == "v1" else self._request_v2()

    def sought(self, not_before: float, *, earlier_try: bool) -> Sought:
        """
        Return what to look for when its fate is unknown.

        :param not_before: when it was sent at the earliest, in seconds since the epoch.
        :param earlier_try: whether an earlier try may have sent it; under our own tag, at any time.
        """
        own_tag = self.user_id is None and self.conversation_id is None
        return Sought(
            agent_id=self.agent_id,
            message=self.message,
            user_id=self.user_id or self.tag,
            conversation_id=self.conversation_id,
            not_before=0.0 if own_tag and earlier_try else not_before,
            after_message_id=self.after_message_id,
            own_tag=own_tag,
            other_conversations=self.other_conversations,
            other_messages=self.other_messages,
        )

    def _request_v1(self) -> Request[JsonObject]:
        if self.user_id:
            log.warning("API v1 has no user ids: user_id is not sent.")
        return chat_v1.send_message(
            self.agent_id,
            self.message,
            history=self.history,
            conversation_id=self.conversation_id,
            model=self.model,
            temperature=self.temperature,
            stream=self.stream,
            on_text=self.on_text,
        )

    def _request_v2(self) -> Request[JsonObject]:
        if self.model is not None or self.temperature is not None:
            raise ChatbaseUnsupportedError(
                "API v2 takes no model or temperature with a message: set them on the agent "
                "(ChatbaseUpdateAgentOperator), or use a connection with api_version v1. Nothing was sent."
            )
        if self.history and self.conversation_id is None:
            raise ChatbaseInputError(
                "API v2 keeps the history itself: give conversation_id, or an earlier result as history. "
                "Nothing was sent."
            )
        return chat_v2.send_message(
            self.agent_id,
            self.message,
            conversation_id=self.conversation_id,
            user_id=None if self.conversation_id else self.user_id or self.tag,
            stream=self.stream,
            on_text=self.on_text,
        )
