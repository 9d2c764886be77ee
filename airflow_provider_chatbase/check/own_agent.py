"""What only an agent of one's own tells: it is made, asked once, and deleted with all that it has."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from airflow_provider_chatbase.check.calls import Caller, Heard
from airflow_provider_chatbase.check.reading import NAME_PREFIX, roles_of
from airflow_provider_chatbase.check.report import Report, known, shape
from airflow_provider_chatbase.client.request import segment

COST = """\
An agent of its own is made, trained with a short text, asked one question, and deleted with all it has.
It takes one place of the plan's agents. The answer costs message credits, usually 1. Two more messages,
into a paused and an ended conversation, get no answer as the documents say; the second is not sent
if the first is answered, so at most two answers are paid for."""

TEXT = "The check of the Airflow provider asks for a colour. The colour is green."
QUESTION = "Which colour is it? Answer in one word."
TRAINING, VISIBLE = 300.0, 30.0  # seconds to wait for them
LOOKS = 5
"""How often to look for an agent whose creation had no answer."""
MOST_PAGES = 50


class CannotDeleteError(Exception):
    """That a test agent may be left, in one sentence."""


def study(caller: Caller, report: Report, interruptible: AbstractContextManager[None]) -> bool:
    """Make an agent, let it tell what it can, and delete it; return whether that was allowed."""
    name, made = NAME_PREFIX + os.urandom(4).hex(), Heard()
    try:
        made = caller.call("createAgent", "POST", "/agents", {"name": name})
        if agent := _id(made):
            with interruptible:
                _live(caller, report, f"/agents/{segment('agent_id', agent)}")
        else:
            report.notes.append(f"No test agent could be made: {made}.")
    finally:
        _delete(caller, report, name, made)
    return not 400 <= made.status < 500


def _delete(caller: Caller, report: Report, name: str, made: Heard) -> None:
    left = {_id(made)} - {""}
    is_refused = 400 <= made.status < 500
    for _ in range(0 if is_refused else LOOKS):
        left = left or _named(caller, name)  # the reply to the creation may have been lost
        is_found = bool(left)
        left = {agent for agent in left if not _is_deleted(caller, agent)}
        if is_found and not left:
            report.notes.append("The test agent was deleted with all it had.")
            return
        time.sleep(1.0)
    if not is_refused:
        report.notes.append("A test agent may be left.")
        answers = [answer for _, operation, answer in caller.made if operation == "deleteAgent"]
        why = f"deleted ({', '.join(left)}, {answers[-1]})" if left else "found"
        raise CannotDeleteError(
            f"The test agent {name!r} could not be {why}: look for it in the dashboard, and delete it."
        )


def _named(caller: Caller, name: str) -> set[str]:
    query: dict[str, Any] = {"limit": 100}
    for _ in range(MOST_PAGES):
        page = caller.get("listAgents", "/agents", query)
        if found := {str(row.get("id")) for row in page.rows if row.get("name") == name}:
            return found
        pagination = page.json.get("pagination")
        query["cursor"] = pagination.get("cursor") if isinstance(pagination, dict) else None
        if not query["cursor"]:
            break
    return set()


def _is_deleted(caller: Caller, agent: str) -> bool:
    path = f"/agents/{segment('agent_id', agent)}"
    caller.call("deleteAgent", "DELETE", path)
    return caller.get("getAgent", path).status == 404


def _live(caller: Caller, report: Report, path: str) -> None:
    _train(caller, report, f"{path}/sources")
    if conversation := _ask(caller, report, f"{path}/chat"):
        _export(caller, report, f"{path}/conversations/export", conversation)
        _end(caller, report, path, conversation)
    deprecated = caller.call("trainAgent", "POST", f"{path}/train")
    value = deprecated.headers.get("deprecation", "none")
    dated = "`@` and seconds" if value[:1] == "@" else "another value"
    told = f"`{value}`" if value in ("true", "none") else dated
    report.settle("Header of the deprecated train", f"{deprecated}, Deprecation: {told}")


def _train(caller: Caller, report: Report, path: str) -> None:
    made = caller.call("createSource", "POST", path, {"type": "text", "name": "Colour", "content": TEXT})
    if not (source := _id(made)):
        return

    def look() -> Heard | None:
        found = caller.get("getSource", f"{path}/{segment('source', source)}")
        return found if found.json.get("status") in ("trained", "failed") else None

    found, seconds = _waited(look, TRAINING)
    status = f"`{found.json['status']}`" if found else "not ready"
    report.settle("Training of a short text", f"{status} after {seconds:.0f} s")
    if found:
        told = "yes" if TEXT.encode() in found.content else "no"
        report.settle("Whether getSource returns the text", told)


def _ask(caller: Caller, report: Report, path: str) -> str:
    heard = caller.call("chatWithAgent", "POST", path, {"message": QUESTION, "stream": True})
    lines = heard.content.decode("utf-8", "replace").splitlines() if heard.works else []
    events = [event for line in lines if (event := _event(line))]
    if not events:
        return ""
    first = known(events[0].get("type"), "start", "message-start", "start-step")
    report.settle("First event of a stream", first)
    named, comments = (any(line.startswith(start) for line in lines) for start in ("event:", ":"))
    told = f"`event:` lines: {'yes' if named else 'no'}, comments: {'yes' if comments else 'no'}"
    report.settle("Lines of a stream beside `data:`", told)
    metadata: dict[str, Any] = {}
    places: list[str] = []
    for event in events:
        if isinstance(event.get("messageMetadata"), dict):
            metadata |= event["messageMetadata"]
            places.append(known(event.get("type"), "start", "message-start", "message-metadata", "finish"))
    reason = "at the top of `finish`" if "finishReason" in events[-1] else "elsewhere"
    report.settle("Metadata of a stream", f"in {', '.join(places) or 'no event'}; finishReason {reason}")
    usage = metadata.get("usage")
    if isinstance(usage, dict) and isinstance(usage.get("credits"), int | float):
        report.settle("Credits of the answer", f"{usage['credits']:g}")
    return str(metadata.get("conversationId") or "")


def _export(caller: Caller, report: Report, path: str, conversation: str) -> None:
    rows, seconds = _waited(
        lambda: caller.get("exportConversations", path, {"conversationId": conversation}).rows, VISIBLE
    )
    told = f"there after {seconds:.0f} s, with {roles_of(rows)}" if rows else f"not within {VISIBLE:g} s"
    report.settle("Conversation in the export", told)


def _end(caller: Caller, report: Report, agent: str, conversation: str) -> None:
    path, settle = f"{agent}/conversations/{segment('conversation', conversation)}", report.settle
    message = {"message": QUESTION, "conversationId": conversation, "stream": False}
    too_long = {"toolCallId": "call_of_nobody", "output": "x" * 21_000}
    heard = caller.call("submitToolResult", "POST", f"{path}/tool-result", too_long)
    settle("Limit of 20 kB for a tool's result", f"21 kB are answered {heard}")
    settle("Pause by `paused`", caller.call("updateConversation", "PATCH", path, {"paused": True}))
    heard = caller.call("chatWithAgent", "POST", f"{agent}/chat", message)
    settle("Reply in a paused conversation", _said(heard))
    is_silent = bool(heard.status) and _said(heard) != "an answer"
    heard = caller.call("updateConversation", "PATCH", path, {"status": "ended"})
    settle("End by `status`", heard)
    if heard.works and is_silent:
        heard = caller.call("chatWithAgent", "POST", f"{agent}/chat", message)
        settle("Status of CHAT_CONVERSATION_NOT_ONGOING", _said(heard))
    heard = caller.call("deleteConversation", "DELETE", path)
    settle("Answer of deleteConversation", f"{heard} {shape(heard.json)}")


def _id(made: Heard) -> str:
    return str(made.json.get("id") or "") if made.works else ""


def _event(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line.removeprefix("data:")) if line.startswith("data:") else None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _said(heard: Heard) -> str:
    """Describe the reply to a message without quoting it."""
    if not heard.works:
        return str(heard)
    data = heard.json.get("data")
    if isinstance(data, dict):
        return "an answer" if data.get("parts") else f"{heard}, an answer without parts"
    return f"{heard}, data is null" if data is None else f"{heard}, other data"


def _waited(look: Callable[[], Any], longest: float) -> tuple[Any, float]:
    """Look every second until there is something; return it, and how many seconds that took."""
    began = time.monotonic()
    while not (found := look()) and time.monotonic() - began < longest:
        time.sleep(1.0)
    return found, time.monotonic() - began
