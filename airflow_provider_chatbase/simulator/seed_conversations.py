"""Seeded conversations: their outlines are made at once, their messages when somebody reads them."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime

from airflow_provider_chatbase.simulator.conversations import (
    ROLE_ASSISTANT,
    ROLE_USER,
    Conversation,
    Message,
    Part,
)
from airflow_provider_chatbase.simulator.seed_texts import (
    CLOSINGS,
    FIRST_NAMES,
    HUMAN_REPLY,
    ODD_TEXTS,
    TOPICS,
    Topic,
)
from airflow_provider_chatbase.simulator.settings import Settings

DAY = 86_400

CHANNELS = {
    "Widget or Iframe": 44,
    "API": 16,
    "WhatsApp": 14,
    "Instagram": 5,
    "Messenger": 5,
    "Email": 5,
    "Chatbase site": 3,
    "Slack": 2,
    "Zendesk": 2,
    "Playground": 2,
    "iOS SDK": 1,
    "Android SDK": 1,
    "Unspecified": 1,
}
_STATUSES = {"ended": 78, "ongoing": 14, "taken_over": 5, "paused": 3}
_SENTIMENTS = {"neutral": 60, "positive": 24, "negative": 16}
_HOURS = (1, 1, 1, 1, 1, 2, 4, 8, 14, 18, 20, 19, 16, 17, 18, 17, 15, 14, 13, 12, 11, 8, 5, 2)

_UNKNOWN_SOURCE = "Telegram"
_UNKNOWN_STATUS = "escalated"


def make_conversations(settings: Settings, now: float, rng: random.Random) -> list[Conversation]:
    """Return the outlines of all seeded conversations."""
    count = settings.conversations
    times = _creation_times(count, settings.months, now, rng)
    sources = rng.choices(list(CHANNELS), list(CHANNELS.values()), k=count)
    statuses = rng.choices(list(_STATUSES), list(_STATUSES.values()), k=count)
    sentiments = rng.choices(list(_SENTIMENTS), list(_SENTIMENTS.values()), k=count)
    topics = rng.choices(TOPICS, k=count)
    recipe = messages_of(settings)
    made = []
    for number, created in enumerate(times):
        topic = topics[number]
        made.append(
            Conversation(
                id=_uuid(rng),
                created_at=created,
                updated_at=created + 20 + int(rng.expovariate(1 / 300)),
                title=topic.title,
                user_id=f"user-{rng.randrange(max(1, count // 3)):05d}" if rng.random() < 0.4 else None,
                status=statuses[number],
                source=sources[number],
                created_by_v2=sources[number] == "API",
                recipe=recipe,
                sentiment=sentiments[number],
                topic=topic.name,
            )
        )
        if settings.odd_data:
            _make_odd(made[-1], number)
    return made


def messages_of(settings: Settings) -> Callable[[Conversation], list[Message]]:
    """Return the recipe that makes a conversation's messages, the same on every reading."""
    topics = {topic.name: topic for topic in TOPICS}

    def recipe(conversation: Conversation) -> list[Message]:
        return _Script(conversation, topics[conversation.topic or "hours"], settings).messages()

    return recipe


class _Script:
    """How one conversation goes."""

    def __init__(self, conversation: Conversation, topic: Topic, settings: Settings) -> None:
        self._conversation = conversation
        self._topic = topic
        self._settings = settings
        self._number = int(conversation.id[:8], 16)
        self._rng = random.Random(self._number)  # noqa: S311
        self._written: list[Message] = []
        self._details = {
            "order": f"#{self._number % 90_000 + 10_000}",
            "email": f"{self._rng.choice(FIRST_NAMES).lower()}{self._number % 97}@example.com",
            "phone": f"+49 151 {self._number % 10_000_000:07d}",
        }

    def messages(self) -> list[Message]:
        rng, topic = self._rng, self._topic
        question, reply = rng.choice(topic.openings)
        self._say(ROLE_USER, self._odd_question() or question)
        self._reply(reply, tool=topic.tool if rng.random() < 0.6 else None)
        for question, reply in topic.follow_ups[: rng.randrange(len(topic.follow_ups) + 1)]:
            self._say(ROLE_USER, question)
            self._reply(reply)
        if rng.random() < 0.5:
            question, reply = rng.choice(CLOSINGS)
            self._say(ROLE_USER, question)
            self._reply(reply)
        if self._conversation.status == "taken_over":
            self._say(self._settings.human_role if self._settings.odd_data else ROLE_ASSISTANT, HUMAN_REPLY)
        self._set_times()
        self._rate()
        return self._written

    def _odd_question(self) -> str | None:
        if self._settings.odd_data and self._number % 23 == 0:
            return ODD_TEXTS[self._number // 23 % len(ODD_TEXTS)]
        return None

    def _say(self, role: str, text: str) -> Message:
        for name, value in self._details.items():
            text = text.replace(f"{{{name}}}", value)
        identifier = f"msg_{self._number:08x}{len(self._written):02x}{self._conversation.id[-12:]}"
        message = Message(identifier, role, [{"type": "text", "text": text}], 0)
        self._written.append(message)
        return message

    def _reply(self, text: str, tool: str | None = None) -> None:
        message = self._say(ROLE_ASSISTANT, text)
        draw = self._rng.random()
        message.score = None if draw < 0.08 else round(1 - 0.7 * draw * draw, 2)
        if tool is not None:
            message.parts[:0] = self._tool_parts(tool)
        if self._settings.odd_data and self._number % 29 == 0:
            message.parts.insert(0, {"type": "reasoning", "text": "The user wants to know.", "state": "done"})

    def _tool_parts(self, tool: str) -> list[Part]:
        shared = {"toolCallId": f"call_{self._number:08x}", "toolName": tool}
        failed = self._number % 11 == 0
        output = {
            "status": "error" if failed else "in_transit",
            "days": self._number % 5,
            "internalToken": "tok_1",
        }
        return [
            {"type": "tool-call", **shared, "input": {"orderId": self._details["order"]}},
            {"type": "tool-result", **shared, "output": output},
        ]

    def _set_times(self) -> None:
        start, end = self._conversation.created_at, self._conversation.updated_at
        steps = max(1, len(self._written) - 1)
        for place, message in enumerate(self._written):
            message.created_at = start + (end - start) * place // steps
        if self._settings.odd_data and self._number % 31 == 0:
            self._written[0].created_at = None

    def _rate(self) -> None:
        rating = {"negative": "negative", "positive": "positive"}.get(self._conversation.sentiment or "")
        if rating and self._number % 3 != 0:
            rated = [message for message in self._written if message.role == ROLE_ASSISTANT]
            rated[-1].feedback = rating


def _creation_times(count: int, months: int, now: float, rng: random.Random) -> list[int]:
    days = max(1, months * 30)
    last_midnight = int(now) // DAY * DAY
    weights = [_day_weight(last_midnight - (days - day) * DAY, day / days) for day in range(days)]
    chosen_days = rng.choices(range(days), weights, k=count)
    chosen_hours = rng.choices(range(24), _HOURS, k=count)
    times = [
        last_midnight - (days - day) * DAY + hour * 3600 + rng.randrange(3600)
        for day, hour in zip(chosen_days, chosen_hours, strict=True)
    ]
    for number in range(0, count - 3, 40):
        midnight = times[number] // DAY * DAY
        times[number], times[number + 1] = midnight, midnight + DAY - 1
        times[number + 2] = times[number + 3]
    return sorted(times)


def _day_weight(day: int, progress: float) -> float:
    weekday = datetime.fromtimestamp(day, UTC).weekday()
    return (0.6 + 0.8 * progress) * (0.45 if weekday >= 5 else 1.0)


def _make_odd(conversation: Conversation, number: int) -> None:
    if number % 97 == 13:
        conversation.source, conversation.created_by_v2 = _UNKNOWN_SOURCE, False
    elif number % 97 == 14:
        conversation.source, conversation.created_by_v2 = None, False
    elif number % 89 == 21:
        conversation.status = _UNKNOWN_STATUS
    if number % 19 == 5:
        conversation.title = None
    elif number % 61 == 7:
        conversation.title = ODD_TEXTS[number // 61 % len(ODD_TEXTS)]


def _uuid(rng: random.Random) -> str:
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
