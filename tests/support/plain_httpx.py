"""Leaves httpx2 out, as if it were not installed: ``pytest -p tests.support.plain_httpx tests/client``."""

from __future__ import annotations

import sys

sys.modules["httpx2"] = None  # type: ignore[assignment]
