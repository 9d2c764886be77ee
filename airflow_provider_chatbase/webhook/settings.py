"""The settings of the receiver, from Airflow's configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from airflow.providers.common.compat.sdk import conf

SECTION = "chatbase"


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """How calls are checked, and what is kept of them."""

    secrets: tuple[str, ...] = field(repr=False)
    replay_window: float
    keeps_data: bool

    @classmethod
    def read(cls) -> Self:
        """Read Airflow's configuration. Without a secret there are none, and the receiver is off."""
        found = conf.get(SECTION, "webhook_secret", fallback="") or ""
        return cls(
            secrets=tuple(each.strip() for each in found.split(",") if each.strip()),
            replay_window=conf.getfloat(SECTION, "webhook_replay_window", fallback=86_400.0),
            keeps_data=conf.getboolean(SECTION, "webhook_keeps_data", fallback=True),
        )
