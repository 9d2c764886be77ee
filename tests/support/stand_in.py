"""A second, much smaller Chatbase for the tests of messages; it says on the wire exactly what it is told to.

It is written from the API's documents alone and shares no code with the simulator. It counts what it charges.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

Event = dict[str, Any]
TEXT = "Grüße, 世界! 🦊"
AGENT = "agent-1"
KEY = "sk-stand-in-1234567890"


@dataclass(kw_only=True)
class Act:
    """
    What becomes of one chat request.

    ``arrives``: the question is kept. ``works``: the answer is made, kept and charged. ``answer_after``: how
    often the conversation is read before the answer shows. ``ending``, after the reply's body: ``end``,
    ``cut`` (no end of the chunks), ``reset`` or ``hang``. ``silent``: not a byte of a reply.
    """

    text: str = TEXT
    arrives: bool = True
    works: bool = True
    answer_after: int = 0
    tools: list[tuple[str, Any]] = field(default_factory=list)
    credits: float | None = 1
    status: int = 200
    content_type: str | None = None
    body: bytes | list[bytes] | None = None
    wire: Callable[[list[Event]], list[bytes]] | None = None
    cut_after: int | None = None
    ending: str = "end"
    silent: bool = False
    delay: float = 0.0
    pause: float = 0.0
    same_message: bool = False
    finish_reason: str | None = None


@dataclass
class Conversation:
    id: str
    user_id: str | None
    status: str = "ongoing"
    messages: list[dict[str, Any]] = field(default_factory=list)
    hidden_answers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    hidden_looks: int = 0
    created: int = 0
    updated: int = 0


def sse(events: list[Event]) -> list[bytes]:
    """Frame events as the documents show it, one chunk each."""
    return [
        *(f"data: {json.dumps(each, ensure_ascii=False)}\n\n".encode() for each in events),
        b"data: [DONE]\n\n",
    ]


class StandIn:
    def __init__(self) -> None:
        self.acts: list[Act] = []
        self.posts: list[dict[str, Any]] = []
        self.tool_results: list[dict[str, Any]] = []
        self.tool_result_status = 200
        self.charges = 0
        self.looks: list[str] = []
        self.look_status: int = 200
        self.look_code = "INTERNAL_SERVER_ERROR"
        self.look_failures: int | None = None
        self.looks_reset = False
        self.hidden_looks = 0
        self.keep_tool_results = True
        self.with_created_at = True
        self.embedded = 20
        self.page_size = 100
        self.conversations: dict[str, Conversation] = {}
        self.on_post: Callable[[], None] = lambda: None
        self._ids = itertools.count(1)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def begin(self, user_id: str | None, *turns: tuple[str, str], age: int = 0) -> Conversation:
        """Let somebody have had a conversation."""
        found = Conversation(f"conv-{next(self._ids)}", user_id)
        found.created = found.updated = int(time.time()) - age
        self.conversations[found.id] = found
        for role, text in turns:
            found.messages.append(self._message(role, [{"type": "text", "text": text}], found.updated))
        return found

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self._port = server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
                length = re.search(rb"(?i)content-length: *(\d+)", head)
                body = await reader.readexactly(int(length[1])) if length else b""
                sent = json.loads(body) if body else None
                path, _, query = target.partition("?")
                self._cursor = re.search(r"cursor=(\d+)", query)
                if not await self._answer(writer, method, path, sent):
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, method: str, path: str, sent: Any) -> bool:
        if method == "POST" and path.endswith("/chat"):
            return await self._chat(writer, sent, v1=path == "/api/v1/chat")
        where = re.fullmatch(
            rf"/api/v2/agents/{AGENT}(/users/(?P<user>[^/]+))?/conversations(/(?P<id>[^/]+)(/(?P<what>.+))?)?",
            path,
        )
        if where is None:
            return self._json(writer, 404, _error("AGENT_NOT_FOUND"))
        if where["what"] == "tool-result":
            if self.tool_result_status != 200:
                return self._json(writer, self.tool_result_status, _error("RESOURCE_TOOL_CALL_NOT_FOUND"))
            self.tool_results.append(sent)
            if self.keep_tool_results:
                self.conversations[where["id"]].messages[-1]["parts"].append(
                    {"type": "tool-result", "toolCallId": sent["toolCallId"], "output": sent.get("output")}
                )
            return self._json(writer, 200, {"data": {"success": True}})
        self.looks.append(path)
        if self.looks_reset:
            return self._reset(writer)
        if self.look_status != 200 and (self.look_failures is None or self.look_failures > 0):
            self.look_failures = None if self.look_failures is None else self.look_failures - 1
            return self._json(writer, self.look_status, _error(self.look_code))
        if where["user"]:
            return self._json(writer, 200, _page([self._shown(c) for c in self._of_user(where["user"])]))
        found = self.conversations.get(where["id"] or "")
        if found is None:
            return self._json(writer, 404, _error("RESOURCE_NOT_FOUND"))
        self._reveal(found)
        if where["what"] == "messages":
            end = int(self._cursor[1]) if self._cursor else len(found.messages)
            start = max(0, end - self.page_size)
            return self._json(writer, 200, _page(found.messages[start:end], str(start) if start else None))
        return self._json(
            writer, 200, {"data": {**self._shown(found), "messages": found.messages[-self.embedded :]}}
        )

    async def _chat(self, writer: asyncio.StreamWriter, sent: Any, *, v1: bool) -> bool:
        self.posts.append(sent)
        act = self.acts.pop(0) if self.acts else Act()
        self.on_post()
        conversation, question, answer = self._work(act, sent, v1=v1)
        await asyncio.sleep(act.delay)
        if act.silent:
            return self._reset(writer)
        pieces, kind = self._reply(act, sent, conversation, question, answer, v1=v1)
        writer.write(
            f"HTTP/1.1 {act.status} X\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        for piece in pieces[: act.cut_after]:
            await asyncio.sleep(act.pause)
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b"")
            await writer.drain()
        if act.ending == "hang":
            await asyncio.sleep(30)
        if act.ending == "reset":
            await asyncio.sleep(0.02)  # what was written is to arrive first
            return self._reset(writer)
        if act.ending == "end":
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return act.ending == "end"

    def _work(self, act: Act, sent: Any, *, v1: bool) -> tuple[Conversation, str | None, dict[str, Any]]:
        parts: list[dict[str, Any]] = [{"type": "text", "text": act.text}] if act.text else []
        parts += [
            {"type": "tool-call", "toolCallId": f"call-{next(self._ids)}", "toolName": name, "input": given}
            for name, given in act.tools
        ]
        answer = self._message("assistant", parts)
        self.charges += act.works
        if v1:
            return Conversation("v1", None), None, answer
        found = self.conversations.get(sent.get("conversationId") or "")
        if found is None:
            found = Conversation(f"conv-{next(self._ids)}", sent.get("userId"))
            found.created, found.hidden_looks = int(time.time()), self.hidden_looks
            if act.arrives or act.works:
                self.conversations[found.id] = found
        question = None
        if sent.get("message") and (act.arrives or act.works):
            found.messages.append(self._message("user", [{"type": "text", "text": sent["message"]}]))
            question = found.messages[-1]["id"]
        found.updated = int(time.time())
        if act.works and act.same_message:
            found.messages[-1]["parts"] += parts
        elif act.works and found.status == "ongoing":
            found.hidden_answers.append((act.answer_after, answer))
            self._reveal(found, by_look=False)
        return found, question, answer

    def _reply(
        self,
        act: Act,
        sent: Any,
        conversation: Conversation,
        question: str | None,
        answer: dict[str, Any],
        *,
        v1: bool,
    ) -> tuple[list[bytes], str]:
        if act.body is not None:
            body = act.body if isinstance(act.body, list) else [act.body]
            return body, act.content_type or "application/json"
        if v1 and sent.get("stream"):
            return [act.text.encode()], act.content_type or "text/plain"
        if v1:
            return [json.dumps({"text": act.text}).encode()], "application/json"
        reason = act.finish_reason or ("tool-calls" if act.tools else "stop")
        metadata = {
            "userMessageId": question,
            "conversationId": conversation.id,
            "userId": conversation.user_id,
        }
        metadata["usage"] = {"credits": act.credits} if act.credits is not None else None
        if sent.get("stream") is False:
            data = {**answer, "metadata": {**metadata, "finishReason": reason}}
            return [json.dumps({"data": data}).encode()], act.content_type or "application/json"
        events = events_of(answer, reason, metadata)
        return (act.wire or sse)(events), act.content_type or "text/event-stream"

    def _message(self, role: str, parts: list[dict[str, Any]], at: int | None = None) -> dict[str, Any]:
        made = {"id": f"msg-{next(self._ids)}", "role": role, "parts": parts}
        return {**made, "createdAt": at or int(time.time())} if self.with_created_at else made

    def _of_user(self, user_id: str) -> list[Conversation]:
        theirs = [c for c in self.conversations.values() if c.user_id == user_id]
        for each in theirs:
            each.hidden_looks -= 1
        shown = [each for each in theirs if each.hidden_looks < 0]
        return sorted(shown, key=lambda each: each.updated, reverse=True)

    def _reveal(self, found: Conversation, *, by_look: bool = True) -> None:
        waiting = [(looks - by_look, answer) for looks, answer in found.hidden_answers]
        found.messages += [answer for looks, answer in waiting if looks <= 0]
        found.hidden_answers = [each for each in waiting if each[0] > 0]

    def _shown(self, found: Conversation) -> dict[str, Any]:
        times = {"createdAt": found.created, "updatedAt": found.updated} if self.with_created_at else {}
        return {"id": found.id, "userId": found.user_id, "status": found.status, **times}

    def _json(self, writer: asyncio.StreamWriter, status: int, payload: Any) -> bool:
        body = json.dumps(payload).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        return True

    def _reset(self, writer: asyncio.StreamWriter) -> bool:
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        writer.transport.abort()
        return False


def events_of(answer: dict[str, Any], reason: str, metadata: dict[str, Any]) -> list[Event]:
    """Return the events of an answer, its text in pieces of three characters."""
    events: list[Event] = [{"type": "start", "messageId": answer["id"]}, {"type": "start-step"}]
    for part in answer["parts"]:
        if part["type"] == "text":
            text = part["text"]
            events.append({"type": "text-start", "id": "t1"})
            events += [
                {"type": "text-delta", "id": "t1", "delta": text[at : at + 3]}
                for at in range(0, len(text), 3)
            ]
            events.append({"type": "text-end", "id": "t1"})
        else:
            call = {"toolCallId": part["toolCallId"], "toolName": part["toolName"]}
            events.append({"type": "tool-input-start", **call})
            events.append(
                {"type": "tool-input-delta", "toolCallId": part["toolCallId"], "inputTextDelta": "{"}
            )
            events.append({"type": "tool-input-available", **call, "input": part["input"]})
    closing = {"messageId": answer["id"], **metadata}
    return [
        *events,
        {"type": "finish-step"},
        {"type": "finish", "finishReason": reason, "messageMetadata": closing},
    ]


def _page(items: list[dict[str, Any]], cursor: str | None = None) -> dict[str, Any]:
    return {
        "data": items,
        "pagination": {"cursor": cursor, "hasMore": cursor is not None, "total": len(items)},
    }


def _error(code: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": "said by the stand-in"}}
