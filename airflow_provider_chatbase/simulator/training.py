"""What state a source and its agent are in, worked out from the clock alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

FAIL_MARKER = "sim:fail-training"


@dataclass(slots=True, eq=False)
class Source:
    """
    One training source.

    ``content`` is what was written last, ``live_content`` what the agent answers with. Training of the last
    write began at ``changed_at`` and is over at ``ready_at``.
    """

    id: str
    type: str
    name: str
    content: str
    size: int
    created_at: float
    changed_at: float
    ready_at: float
    metadata: dict[str, Any] | None = None
    fails: bool = False
    live_content: str | None = None
    live_since: float | None = None
    purge_at: float | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def begin_training(self, now: float, seconds: float) -> None:
        """Start a training that ends after the given time."""
        self.changed_at = now
        self.ready_at = now + seconds
        self.fails = FAIL_MARKER in self.content or FAIL_MARKER in self.name

    def settle(self, now: float) -> None:
        """Put the trained content live when its time has come."""
        landed = self.ready_at <= now and not self.fails
        if landed and (self.live_since is None or self.live_since < self.ready_at):
            self.live_content = self.content
            self.live_since = self.ready_at

    def is_training(self, now: float) -> bool:
        """Whether the last write is still being trained."""
        return self.purge_at is None and now < self.ready_at

    def status(self, now: float) -> str:
        """Return the status that the API shows."""
        self.settle(now)
        if self.purge_at is not None:
            return "toBeDeleted"
        if now < self.ready_at:
            return "untrained" if self.live_since is None else "updated"
        return "failed" if self.fails else "trained"


def agent_status(sources: Iterable[Source], now: float, lag: float = 0.0) -> str:
    """
    Return the status of an agent with these sources.

    :param sources: its sources.
    :param now: the time.
    :param lag: how long a write does not show yet.
    """
    seen = {_seen_status(source, now, lag) for source in sources}
    if seen & {"untrained", "updated"}:
        return "training"
    if "failed" in seen:
        return "failed"
    return "trained" if "trained" in seen else "untrained"


def _seen_status(source: Source, now: float, lag: float) -> str | None:
    status = source.status(now)
    if status == "toBeDeleted":
        return None
    if now < source.changed_at + lag:
        return None if source.live_since is None or source.live_since >= source.changed_at else "trained"
    return status
