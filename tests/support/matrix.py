"""All combinations of what a test is tried with, of which the ordinary run takes few."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest


def matrix(*axes: Sequence[Any]) -> list[Any]:
    """Return every combination; those beyond each value once are ``long``."""
    once = {tuple(axis[at % len(axis)] for axis in axes) for at in range(max(map(len, axes)))}
    return [
        pytest.param(*each, marks=() if each in once else pytest.mark.long)
        for each in itertools.product(*axes)
    ]
