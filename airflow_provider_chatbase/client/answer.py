"""What an agent answered, in our names, whole or as it is streamed, and whether it is an answer at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

from airflow_provider_chatbase.client.decoding import decode_json, sound, sound_text
from airflow_provider_chatbase.client.errors import (
    ChatbaseAnswerError,
    ChatbaseInterruptedAnswerError,
    quoted,
)
from airflow_provider_chatbase.client.replies import UnexpectedShapeError, data_object
from airflow_provider_chatbase.client.request import Json, JsonObject

MOST_CREDITS = 1_000_000
"""What an answer can cost at most. No model's costs a thousandth of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an agent answered, the same whichever version was asked, streamed or whole, received or found."""

    text: str
    conversation_id: str | None = None
    message_id: str | None = None
    user_message_id: str | None = None
    user_id: str | None = None
    credits: float | None = None
    finish_reason: str | None = None
    tool_calls: list[JsonObject] = field(default_factory=list)  # asked for, and not yet run
    tool_rounds: int = 0
    recovered: bool = False  # found after a failure, not received
    history: list[JsonObject] | None = None  # what to send along next time, on API v1

    def as_json(self) -> JsonObject:
        """Return it as plain JSON, as hooks and operators do."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def is_one(self) -> bool:
        """Whether the agent said anything, if only that it failed."""
        return bool(self.text.strip() or self.tool_calls) or self.finish_reason in ("error", "tool-calls")

    @property
    def has_a_name(self) -> bool:
        """Whether it is known which message it is, or in which conversation."""
        return self.message_id is not None or self.conversation_id is not None

    def checked(self) -> Self:
        """Refuse what came with HTTP 200 and is no answer."""
        named = {"conversation": self.conversation_id, "message": self.message_id}
        where = ", ".join(f"{name} {value}" for name, value in named.items() if value)
        if self.finish_reason == "error":
            raise ChatbaseAnswerError(
                f"The agent failed while it answered (finishReason: error{where and '; '}{where}). "
                "Look at the conversation in Chatbase; sending again is charged again.",
                operation="chatWithAgent",
                text=self.text,
                conversation_id=self.conversation_id,
            )
        if not self.is_one:
            raise ChatbaseAnswerError(
                f"The agent gave no answer{where and f' ({where})'}. The message is recorded, and may "
                "have been charged; the conversation may be paused, or a human may have taken it over.",
                operation="chatWithAgent",
                conversation_id=self.conversation_id,
            )
        return self


def read_answer(reply: Json) -> Answer:
    """Read an answer of API v2."""
    data = data_object(reply)
    parts = message_parts(data)
    answer = _from_metadata(
        as_mapping(data.get("metadata")),
        text=parts_text(parts),
        message_id=read_id(data.get("id")),
        tool_calls=pending_tool_calls(parts),
    )
    if not (answer.is_one or (isinstance(data.get("parts"), list) and answer.has_a_name)):
        raise UnexpectedShapeError("a message with an id and parts was promised, and none came")
    return answer


def _from_metadata(metadata: Mapping[str, Json], **said: Any) -> Answer:
    reason = metadata.get("finishReason")
    return Answer(
        conversation_id=read_id(metadata.get("conversationId")),
        user_message_id=read_id(metadata.get("userMessageId")),
        user_id=read_id(metadata.get("userId")),
        credits=_credits(as_mapping(metadata.get("usage")).get("credits")),
        finish_reason=reason if isinstance(reason, str) else None,
        **said,
    )


def read_id(value: Json) -> str | None:
    """Return an id as text, also where it came as a number; anything else is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def _credits(value: Json) -> float | None:
    """Return what an answer cost; what is no such number says nothing, and is added to nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_CREDITS:
        return None
    return value


def message_parts(message: Mapping[str, Json]) -> list[JsonObject]:
    """Return a message's parts, those of unknown types too."""
    parts = message.get("parts")
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def parts_text(parts: Sequence[JsonObject]) -> str:
    """Return the text of a message."""
    texts = (part.get("text") for part in parts if part.get("type") == "text")
    return "".join(text for text in texts if isinstance(text, str))


def pending_tool_calls(parts: Sequence[JsonObject]) -> list[JsonObject]:
    """Return the tool calls that have no result yet."""
    results = {str(part.get("toolCallId")) for part in parts if part.get("type") == "tool-result"}
    return [
        {"id": str(part.get("toolCallId")), "name": str(part.get("toolName")), "input": part.get("input")}
        for part in parts
        if part.get("type") == "tool-call" and str(part.get("toolCallId")) not in results
    ]


def as_mapping(value: Json) -> Mapping[str, Json]:
    """Return a JSON object, or an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


class EventStreamReader:
    """
    Reads the server-sent events of ``chatWithAgent`` and ``retryMessage``.

    Events of unknown types are passed over. Whether the stream is whole is for the caller to know.
    """

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._tool_calls: dict[str, JsonObject] = {}
        self._answered_tool_calls: set[str] = set()
        self._metadata: JsonObject = {}
        self._message_id: str | None = None
        self._whole: Answer | None = None
        self._events: dict[str, Callable[[JsonObject], str | None]] = {
            "start": self._start,
            "message-start": self._start,
            "text-delta": self._text_delta,
            "tool-input-available": self._tool_call,
            "tool-output-available": self._tool_output,
            "tool-output-error": self._tool_output,
            "message-metadata": self._note_metadata,
            "finish": self._finish,
            "error": self._error,
        }

    def take(self, piece: str) -> str:
        """Take the data of the next event."""
        if not piece.strip():
            return ""
        try:
            event = decode_json(piece, mend=True, keep_halves=True)
        except ValueError:
            raise self.interrupted("an event is no JSON") from None
        if not isinstance(event, dict):
            raise self.interrupted("an event is no JSON object")
        if event.get("type") != "text-delta":  # whose halves of characters the next one may make whole
            event = sound(event)
        read = self._events.get(str(event.get("type")))
        return (read(event) if read is not None else None) or ""

    def take_whole(self, result: Answer) -> str:
        """Take an answer that came as one document, although a stream was asked for."""
        self._whole = result
        return result.text

    def interrupted(self, why: str) -> ChatbaseInterruptedAnswerError:
        """Return the error of a stream that broke, with the text received so far."""
        text = self._text()
        return ChatbaseInterruptedAnswerError(
            f"The answer broke off after {len(text):,} characters: {why}. "
            "Chatbase may have the whole answer, and has charged for it then.",
            operation="chatWithAgent",
            text=text,
            conversation_id=read_id(self._metadata.get("conversationId")),
        )

    def result(self) -> Answer:
        """Return the answer."""
        if self._whole is not None:
            return self._whole
        answer = _from_metadata(
            self._metadata,
            text=self._text(),
            message_id=read_id(self._metadata.get("messageId")) or self._message_id,
            tool_calls=[
                call for key, call in self._tool_calls.items() if key not in self._answered_tool_calls
            ],
        )
        if not answer.is_one and not answer.has_a_name:
            raise self.interrupted("it ended, and told of no message")
        return answer

    def _text(self) -> str:
        return sound_text("".join("".join(deltas) for deltas in self._texts.values()))

    def _start(self, event: JsonObject) -> None:
        self._message_id = read_id(event.get("messageId")) or self._message_id
        self._note_metadata({"messageMetadata": event.get("messageMetadata")})

    def _text_delta(self, event: JsonObject) -> str:
        delta = event.get("delta")
        if not isinstance(delta, str):
            return ""
        self._texts.setdefault(str(event.get("id")), []).append(delta)
        return sound_text(delta)

    def _tool_call(self, event: JsonObject) -> None:
        key = str(event.get("toolCallId"))
        self._tool_calls[key] = {"id": key, "name": str(event.get("toolName")), "input": event.get("input")}

    def _tool_output(self, event: JsonObject) -> None:
        self._answered_tool_calls.add(str(event.get("toolCallId")))

    def _note_metadata(self, event: JsonObject) -> None:
        nested = event.get("messageMetadata") or event.get("metadata")
        found = nested if isinstance(nested, dict) else {k: v for k, v in event.items() if k != "type"}
        self._metadata.update({name: value for name, value in found.items() if value is not None})

    def _finish(self, event: JsonObject) -> None:
        self._note_metadata(event)
        if isinstance(reason := event.get("finishReason"), str):
            self._metadata["finishReason"] = reason

    def _error(self, event: JsonObject) -> None:
        why = event.get("errorText") or as_mapping(event.get("error")).get("message") or "no reason given"
        raise ChatbaseAnswerError(
            f"The agent failed while it answered, after {len(self._text()):,} characters: {quoted(why)}. "
            "Look at the conversation in Chatbase; sending again is charged again.",
            operation="chatWithAgent",
            text=self._text(),
            conversation_id=read_id(self._metadata.get("conversationId")),
        )


class TextStreamReader:
    """Reads the texts of v1's ``chat``: the chunks of a plain text, or the data of server-sent events."""

    def __init__(self, make_answer: Callable[[str], Answer]) -> None:
        self._make_answer = make_answer
        self._chunks: list[str] = []

    def take(self, piece: str) -> str:
        """Take the next chunk."""
        self._chunks.append(piece)
        return piece

    def take_whole(self, result: Answer) -> str:
        """Take an answer that came as one document, although a stream was asked for."""
        return self.take(result.text)

    def interrupted(self, why: str) -> ChatbaseInterruptedAnswerError:
        """Return the error of a stream that broke, with the text received so far."""
        text = "".join(self._chunks)
        return ChatbaseInterruptedAnswerError(
            f"The answer broke off after {len(text):,} characters: {why}. Chatbase has charged for it.",
            operation="chat",
            text=text,
        )

    def result(self) -> Answer:
        """Return the answer."""
        return self._make_answer("".join(self._chunks))
