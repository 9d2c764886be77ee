"""Prompts that can be told apart only when they go one after the other, and so do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from airflow_provider_chatbase.batch.item import Item
from airflow_provider_chatbase.batch.prompts import Prompt
from airflow_provider_chatbase.client.question import Question


@dataclass(slots=True)
class Lane:
    """
    One row of such prompts, and which conversations and messages are those of the earlier ones.

    :param turn: held by the prompt on its way.
    :param conversations: the conversations that those with an answer began.
    :param messages: their messages in the conversation that they continue.
    :param last_message: the last answer in it.
    """

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    conversations: set[str] = field(default_factory=set)
    messages: set[str] = field(default_factory=set)
    last_message: str | None = None

    def learn(self, item: Item) -> None:
        """Take note of where a prompt's answer is."""
        if item.conversation_id is not None:
            self.conversations.add(item.conversation_id)
        if item.user_message_id is not None:
            self.messages.add(item.user_message_id)
        if item.message_id is not None:
            self.last_message = item.message_id

    def narrow(self, question: Question, after: str | None) -> Question:
        """Keep a prompt from being taken for another one of its lane."""
        if question.conversation_id is not None:
            return replace(question, after_message_id=after, other_messages=frozenset(self.messages))
        return replace(question, other_conversations=frozenset(self.conversations))


class Lanes:
    """The lanes of a batch; a prompt that shares its lane with no other has none."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}

    def of(self, prompt: Prompt) -> Lane:
        """Return a prompt's lane."""
        return self._lanes.setdefault(json.dumps(prompt.lane), Lane())


@asynccontextmanager
async def turn(lane: Lane | None) -> AsyncIterator[None]:
    """Wait for a prompt's turn, in the order of the calls."""
    if lane is None:
        yield
        return
    async with lane.turn:
        yield
