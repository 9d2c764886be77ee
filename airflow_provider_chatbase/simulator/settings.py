"""Every switch of the simulator, in one place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    How the simulated service behaves. Times are in seconds, sizes in bytes.

    :param host: address to listen on.
    :param port: port to listen on; 0 lets the system choose a free one.
    :param api_key: the key of the ``standard`` plan that is accepted from the start.
    :param control_token: bearer token of control requests; None makes one up where ``host`` is not loopback,
        and asks for none where it is.
    :param agent_id: id of the seeded agent; None makes one up.
    :param seed: decides all made-up data and all chance; equal seed and ``now`` give equal data.
    :param now: epoch time at which the simulator's clock starts; None means the real time.
    :param conversations: how many conversations the seeded agent has.
    :param months: over how many months before ``now`` they are spread.
    :param leads: how many leads the seeded agent has collected.
    :param tickets: how many tickets the help desk of the seeded agent has.
    :param contacts: how many contacts the seeded agent has.
    :param seed_sources: whether the seeded agent starts with trained sources.
    :param tools: client-side tools of the seeded agent; ``get_order_status`` answers to "order status".
    :param odd_data: whether seeded data holds unknown sources, roles, statuses and part types.
    :param unknown_fields: whether every object carries a field that the API does not document.
    :param latency: wait before each reply; a mapping gives it per operationId, ``"*"`` for the rest.
    :param training_seconds: how long a source trains.
    :param purge_seconds: how long a deleted source stays as ``toBeDeleted``; 0 removes it at once.
    :param status_lag: how long an agent's ``status`` still shows the state before a change.
    :param visibility_delay: how long something new is missing from lists, export and search.
    :param search_delay: how long a change is missing from search.
    :param create_while_exporting: conversations created before each page of an export is read.
    :param grow_while_exporting: conversations that get one more message before each page is read.
    :param cursor_mode: ``keyset`` cursors are stable, ``offset`` cursors shift when conversations are added.
    :param trailing_empty_page: whether ``hasMore`` stays true until an empty page.
    :param rate_limit: requests per key in ``rate_window``.
    :param rate_window: length of the sliding window.
    :param reset_unit: unit of ``X-RateLimit-Reset``.
    :param retry_after: whether a 429 carries ``Retry-After``.
    :param upload_limit: file uploads per workspace in ``upload_window``; refused ones count.
    :param upload_window: length of that window.
    :param v1_rate_headers: whether v1 replies carry rate-limit headers too.
    :param credits_per_answer: price of an answer.
    :param model_credits: price of an answer by model, where it differs.
    :param credit_balance: credits that the workspace has; None means no end.
    :param disallowed_models: models outside the plan; chatting with them is refused.
    :param agent_limit: agents a workspace may have; None means no limit.
    :param storage_limit: bytes of sources an agent may hold.
    :param link_limit: link sources an agent may hold; None means no limit.
    :param pending_steps: follow-ups of creating an agent that are reported as failed.
    :param api_version_plans: which API versions a plan may use, e.g. ``{"hobby": ["v1"]}``.
    :param stream_start_event: name of the first stream event.
    :param stream_event_lines: whether stream records have an ``event:`` line.
    :param stream_comments: whether streams hold comment lines.
    :param stream_unknown_events: whether streams hold events of an unknown type.
    :param stream_metadata: where the closing metadata of a stream is.
    :param stream_piece: characters of a text in one event of a stream; 0 sends about two words.
    :param stream_delay: wait between the events of a stream.
    :param split_stream: cut streams into pieces of so many bytes; 0 sends whole records.
    :param paused_reply: what chat answers in a paused conversation: an answer without parts, or null.
    :param not_ongoing_status: HTTP status of ``CHAT_CONVERSATION_NOT_ONGOING``.
    :param tool_call_ttl: how long a tool call waits for its result.
    :param human_role: role of a human agent's messages in seeded conversations.
    :param leads_shape: shape of the v1 leads reply.
    :param v1_source_style: how v1 spells a conversation's source.
    :param gzip: whether replies are compressed for clients that accept it.
    :param record_limit: how many of the last requests are kept; None keeps all.
    """

    host: str = "127.0.0.1"
    port: int = 0
    api_key: str = "simulator-key"
    control_token: str | None = None
    agent_id: str | None = None
    seed: int = 7
    now: float | None = None
    conversations: int = 200
    months: int = 6
    leads: int = 40
    contacts: int = 30
    tickets: int = 25
    seed_sources: bool = True
    tools: tuple[str, ...] = ("get_order_status",)
    odd_data: bool = True
    unknown_fields: bool = True

    latency: float | Mapping[str, float] = 0.0
    training_seconds: float = 0.2
    purge_seconds: float = 0.0
    status_lag: float = 0.0
    visibility_delay: float = 0.0
    search_delay: float = 0.0
    create_while_exporting: int = 0
    grow_while_exporting: int = 0
    cursor_mode: Literal["keyset", "offset"] = "keyset"
    trailing_empty_page: bool = False

    rate_limit: int = 1000
    rate_window: float = 10.0
    reset_unit: Literal["milliseconds", "seconds"] = "milliseconds"
    retry_after: bool = True
    upload_limit: int = 10
    upload_window: float = 60.0
    v1_rate_headers: bool = False

    credits_per_answer: float = 1
    model_credits: Mapping[str, float] = field(default_factory=dict)
    credit_balance: float | None = None
    disallowed_models: frozenset[str] = frozenset()
    agent_limit: int | None = None
    storage_limit: int = 40_000_000
    link_limit: int | None = None
    pending_steps: tuple[str, ...] = ()
    api_version_plans: Mapping[str, Iterable[str]] = field(default_factory=dict)

    stream_start_event: Literal["start", "message-start", "alternate"] = "start"
    stream_event_lines: bool = False
    stream_comments: bool = False
    stream_unknown_events: bool = True
    stream_metadata: Literal["finish", "message-metadata", "both"] = "both"
    stream_piece: int = 0
    stream_delay: float = 0.0
    split_stream: int = 0
    paused_reply: Literal["no-parts", "null"] = "no-parts"
    not_ongoing_status: int = 403
    tool_call_ttl: float = 300.0
    human_role: str = "human"

    leads_shape: Literal["collectedCustomers", "collectedCustomers.data", "data"] = "collectedCustomers"
    v1_source_style: Literal["lower", "title"] = "lower"
    gzip: bool = False
    record_limit: int | None = None

    @classmethod
    def unkind(cls, **switches: Any) -> Settings:
        """Return settings under which everything is as awkward as the API description allows."""
        awkward: dict[str, Any] = {
            "create_while_exporting": 1,
            "grow_while_exporting": 1,
            "trailing_empty_page": True,
            "visibility_delay": 0.3,
            "search_delay": 0.5,
            "status_lag": 0.1,
            "purge_seconds": 0.3,
            "reset_unit": "seconds",
            "credits_per_answer": 0.5,
            "stream_start_event": "alternate",
            "stream_event_lines": True,
            "stream_comments": True,
            "stream_metadata": "message-metadata",
            "split_stream": 7,
            "paused_reply": "null",
            "not_ongoing_status": 400,
            "leads_shape": "collectedCustomers.data",
            "v1_source_style": "title",
            "gzip": True,
        }
        return cls(**{**awkward, **switches})

    def latency_of(self, operation: str) -> float:
        """Return how long the given operation waits before it replies."""
        if isinstance(self.latency, Mapping):
            return self.latency.get(operation, self.latency.get("*", 0.0))
        return self.latency
