"""Several requests that belong together, written once for sync and async."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from airflow_provider_chatbase.client.request import Request

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Pause:
    """
    A wait between two requests.

    :param seconds: how long.
    """

    seconds: float


Steps = Generator[Request[Any] | Pause, Any, Result]
"""Yields each request or pause, is sent a request's result, and returns the outcome."""
