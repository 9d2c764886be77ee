"""What an agent answers: from its instructions and live sources, or as a message orders."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from airflow_provider_chatbase.simulator.agents import SEED, Agent, Source
from airflow_provider_chatbase.simulator.conversations import Part

ORDER_TOOL = "get_order_status"

_ORDER = re.compile(r"\[sim:([a-z-]+)(?:=([^\]]*))?\]\s*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_WORD = re.compile(r"\w+")
_QUOTED_ENDING = re.compile(r"\b(?:end|close|finish|sign)\b[^\"“”.]*[\"“](.+?)[\"”]", re.IGNORECASE)
_QUOTED_OPENING = re.compile(r"\b(?:start|begin|open|greet)\b[^\"“”.]*[\"“](.+?)[\"”]", re.IGNORECASE)
_COMMON = frozenset(SEED["common_words"].split())
_NUMBER = re.compile(r"\d+(\.\d+)?", re.ASCII)
_LONGEST = 100_000
_PASSAGES_READ = 400


@dataclass(slots=True)
class MadeAnswer:
    """One answer; without ``credits`` it has the usual price; ``in_place`` it joins the message before it."""

    parts: list[Part]
    finish_reason: str = "stop"
    score: float | None = None
    credits: float | None = None
    tells_credits: bool = True
    in_place: bool = False


def orders_in(message: str) -> dict[str, str]:
    """Return the ``[sim:name=value]`` marks in a message."""
    return {name: value or "" for name, value in _ORDER.findall(message)}


def answer(agent: Agent, message: str, now: float, call_id: str) -> MadeAnswer:
    """
    Return an agent's answer to a message, with the sources that are live now.

    ``[sim:error]``, ``[sim:empty]``, ``[sim:answer] text``, ``[sim:long=words]``, ``[sim:tool=name]``,
    ``[sim:server-tool]``, ``[sim:score=0.2]`` and ``[sim:credits=0.5]`` order an answer of that kind.
    """
    orders = orders_in(message)
    plain = _ORDER.sub("", message)
    text, score = _text(agent, plain, orders, now)
    result = MadeAnswer([{"type": "text", "text": text}], score=_number(orders, "score", score))
    result.credits = _number(orders, "credits", None)
    if "error" in orders:
        result.parts, result.finish_reason = [], "error"
    elif "empty" in orders:
        result.parts = [{"type": "text", "text": ""}]
    elif "server-tool" in orders:
        result.parts = [*_server_tool(call_id), *result.parts]
    else:
        name = orders.get("tool") or (ORDER_TOOL if "order status" in plain.lower() else None)
        if name and (name in agent.tools or "tool" in orders):
            result.parts = [_tool_call(call_id, name, plain)]
            result.finish_reason = "tool-calls"
    return result


def answer_to_tools(results: Iterable[Part]) -> MadeAnswer:
    """Return the answer that follows the results of client-side tools."""
    found = "; ".join(f"{part['toolName']}: {_readable(part.get('output'))}" for part in results)
    return MadeAnswer([{"type": "text", "text": f"Here is what I found. {found}"}], score=0.9)


def ordered_answer(order: str | Mapping[str, Any], new_call_id: Callable[[], str]) -> MadeAnswer:
    """Return the answer that a fault orders with a text, or with the keys of its ``answer``."""
    wanted: Mapping[str, Any] = {"text": order} if isinstance(order, str) else order
    text, tools = wanted.get("text", ""), wanted.get("tools", ())
    parts: list[Part] = [{"type": "text", "text": text}] if text else []
    for name, given in tools:
        parts.append({"type": "tool-call", "toolCallId": new_call_id(), "toolName": name, "input": given})
    made = MadeAnswer(parts, wanted.get("finish_reason") or ("tool-calls" if tools else "stop"), 0.9)
    made.credits, made.tells_credits = wanted.get("credits"), wanted.get("credits", 0) is not None
    made.in_place = wanted.get("in_place", False)
    return made


def _number(orders: dict[str, str], name: str, otherwise: float | None) -> float | None:
    text = orders.get(name, "")
    return float(text) if _NUMBER.fullmatch(text) else otherwise


def _text(agent: Agent, message: str, orders: dict[str, str], now: float) -> tuple[str, float]:
    if "answer" in orders:
        return message.strip(), 0.9
    if "long" in orders:
        words = SEED["long_answer"].split()
        wanted = min(_LONGEST, int(_number(orders, "long", 400.0) or 0))
        return " ".join((words * (wanted // len(words) + 1))[:wanted]), 0.8
    found, score = _best_passage(agent, message, now)
    instructions = agent.fields["instructions"]
    opening, ending = _QUOTED_OPENING.search(instructions), _QUOTED_ENDING.search(instructions)
    pieces = [opening.group(1) if opening else "", found, ending.group(1) if ending else ""]
    return " ".join(piece for piece in pieces if piece), score


def _best_passage(agent: Agent, message: str, now: float) -> tuple[str, float]:
    wanted = _words(message)
    best, best_hits = SEED["no_answer"], 0
    for source in agent.sources.values():
        source.settle(now)
        if source.live_content is None or source.purge_at is not None:
            continue
        for words, passage in _passages(source):
            hits = len(wanted & words)
            if hits > best_hits:
                best, best_hits = passage, hits
    for words, passage in _sentences(agent.fields["instructions"]):
        hits = len(wanted & words)
        if hits > best_hits:
            best, best_hits = passage, hits
    return best, round(min(0.97, 0.25 + 0.2 * best_hits), 2)


def _passages(source: Source) -> tuple[tuple[frozenset[str], str], ...]:
    content = source.live_content or ""
    return _questions(content) if source.type == "qna" else _sentences(content)


@lru_cache(maxsize=512)
def _sentences(content: str) -> tuple[tuple[frozenset[str], str], ...]:
    found = []
    for sentence in _SENTENCE_END.split(content[:200_000])[:_PASSAGES_READ]:
        plain = sentence.strip().lstrip("#*- ")
        if plain:
            found.append((_words(plain), plain))
    return tuple(found)


@lru_cache(maxsize=512)
def _questions(content: str) -> tuple[tuple[frozenset[str], str], ...]:
    entry = json.loads(content)
    return tuple((_words(question), entry["answer"]) for question in entry["questions"])


@lru_cache(maxsize=2048)
def _words(text: str) -> frozenset[str]:
    words = (word.lower() for word in _WORD.findall(text))
    return frozenset(word.removesuffix("s") for word in words if word not in _COMMON and len(word) > 1)


def _tool_call(call_id: str, name: str, message: str) -> Part:
    number = re.search(r"\d+", message)
    call_input = {"orderId": number.group() if number else "unknown"}
    return {"type": "tool-call", "toolCallId": call_id, "toolName": name, "input": call_input}


def _server_tool(call_id: str) -> list[Part]:
    shared = {"toolCallId": call_id, "toolName": "search_help_center"}
    return [
        {"type": "tool-call", **shared, "input": {"query": "help"}},
        {"type": "tool-result", **shared, "output": {"hits": 3, "internalToken": "tok_hidden"}},
    ]


def _readable(output: Any) -> str:
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
