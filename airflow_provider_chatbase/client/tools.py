"""Running the tools that an agent asks for."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from airflow_provider_chatbase.client.answer import Answer
from airflow_provider_chatbase.client.checks import require_count
from airflow_provider_chatbase.client.errors import ChatbaseInputError, ChatbaseToolCallError
from airflow_provider_chatbase.client.request import JsonObject, Request
from airflow_provider_chatbase.client.v2.chat import submit_tool_result

log = logging.getLogger(__name__)

MAX_ROUNDS = 10

ToolHandlers = Mapping[str, Callable[..., Any]]
OnToolCalls = Literal["fail", "return"]
ON_TOOL_CALLS = ("fail", "return")


@dataclass(frozen=True, slots=True)
class ToolUse:
    """What to do when an agent asks for tools."""

    handlers: ToolHandlers = field(default_factory=dict)  # by the tools' names
    without_handler: OnToolCalls = "fail"
    max_rounds: int = MAX_ROUNDS  # before it has to answer

    def __post_init__(self) -> None:
        """Check what was given."""
        require_count("max_tool_rounds", self.max_rounds)
        if self.without_handler not in ON_TOOL_CALLS:
            raise ChatbaseInputError(
                f"on_tool_calls must be one of {', '.join(ON_TOOL_CALLS)}, not {self.without_handler!r}. "
                "Nothing was sent."
            )
        useless = sorted(str(name) for name, handler in self.handlers.items() if not callable(handler))
        if useless:
            raise ChatbaseInputError(
                f"tool_handlers must be functions; this is none for {', '.join(useless)}. Nothing was sent."
            )

    def runs(self, answer: Answer) -> bool:
        """Say whether to run tools and go on."""
        answered = answer.text and answer.finish_reason is not None
        if answer.finish_reason != "tool-calls" and (answered or not answer.tool_calls):
            return False
        missing = sorted({str(call["name"]) for call in answer.tool_calls} - set(self.handlers))
        if not missing and (self.handlers or answer.tool_calls):
            return True
        if self.without_handler == "return":
            return False
        raise self._failed(
            answer,
            f"The agent asks for tools without a handler: {', '.join(missing) or 'unnamed ones'}. "
            "Give tool_handlers for them, or on_tool_calls='return' to get the calls as the result.",
        )

    def exhausted(self, answer: Answer) -> ChatbaseToolCallError:
        """Return the error of an agent that goes on asking for tools."""
        return self._failed(answer, f"The agent asked for tools more than {self.max_rounds} times in a row.")

    def nowhere(self, answer: Answer) -> ChatbaseToolCallError:
        """Return the error of an agent that asks for tools in a conversation that it does not name."""
        return self._failed(
            answer, "The agent asked for tools, and did not say where to hand in their results."
        )

    def _failed(self, answer: Answer, why: str) -> ChatbaseToolCallError:
        return ChatbaseToolCallError(
            f"{why} Conversation {answer.conversation_id}.",
            operation="chatWithAgent",
            text=answer.text,
            conversation_id=answer.conversation_id,
        )


def handed_in(
    agent_id: str, conversation_id: str, call: JsonObject, output: Any, *, again: bool
) -> Request[JsonObject]:
    """Make the request that hands in a tool's result; one that cannot be sent is told as such."""
    try:
        request = submit_tool_result(agent_id, conversation_id, call["id"], output)
    except ChatbaseInputError as error:
        log.warning("The result of the tool %s cannot be sent: %s", call["name"], error)
        request = submit_tool_result(agent_id, conversation_id, call["id"], {"error": str(error)})
    return replace(request, means_done=request.means_done_on_repeat) if again else request


def run_tool(handlers: ToolHandlers, call: JsonObject) -> Any:
    """
    Run a tool; its failure is for the agent to know.

    The handler gets the call's input as keyword arguments when they fit its parameters, else as one argument.
    """
    handler, given = handlers[call["name"]], call["input"]
    try:
        return handler(**given) if _takes_names(handler, given) else handler(given)
    except Exception as error:  # whatever it is, the agent is told
        log.warning("The tool %s failed with %s; the agent is told.", call["name"], type(error).__name__)
        log.debug("The tool %s failed.", call["name"], exc_info=True)
        return {"error": f"{type(error).__name__}: {error}"}


def _takes_names(handler: Callable[..., Any], given: Any) -> bool:
    if not isinstance(given, dict):
        return False
    try:
        inspect.signature(handler).bind(**given)
    except (TypeError, ValueError):
        return False
    return True
