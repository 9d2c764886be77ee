"""Uploads, not faster than an account may make them."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from airflow_provider_chatbase.client.v2.sources import UPLOADS_A_MINUTE

UPLOAD_INTERVAL = 60 / (UPLOADS_A_MINUTE - 1)
"""Seconds between uploads. One place of ten stays free, for an upload that an attempt made before it died."""


@dataclass(slots=True)
class _Turn:
    """Whose turn it is, and when the last upload was over."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    last: float = -float("inf")


_TURNS: defaultdict[int, _Turn] = defaultdict(_Turn)
"""By account: all uploads of a process with the same key wait in one line."""


class UploadPacer:
    """Lets the uploads of an account through one by one."""

    def __init__(
        self,
        account: str,
        interval: float = UPLOAD_INTERVAL,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._turn = _TURNS[hash(account)]
        self._interval = interval
        self._clock = clock
        self._sleep = sleep

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until an upload may be made, and keep others waiting meanwhile."""
        with self._turn.lock:
            wait = self._turn.last + self._interval - self._clock()
            if wait > 0:
                self._sleep(wait)
            try:
                yield
            finally:
                self._turn.last = self._clock()

    def note_earlier(self, created_at: str, now: float) -> None:
        """Take note of an upload that another process made, perhaps an attempt that was killed."""
        try:
            age = now - datetime.fromisoformat(created_at).timestamp()
        except ValueError:
            return
        if abs(age) < self._interval:
            with self._turn.lock:
                self._turn.last = max(self._turn.last, self._clock() - max(age, 0.0))
