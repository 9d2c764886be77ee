"""Some seeds of the campaign; ``scripts/campaign --seeds 10000`` runs it for long."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
SEEDS = {"batch": 40, "batch_v1": 20, "message": 90, "export": 40, "delta": 8, "sync": 50, "mutated": 136}
SEEDS |= {"templates": 50, "contacts": 50, "tickets": 5, "erasing": 30}
SHARE = 5
"""One seed of so many is run where long tests are left out, in one process: its start takes longest."""


def campaign(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.campaign", *arguments]
    return subprocess.run(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


@pytest.mark.long
@pytest.mark.parametrize("what", SEEDS)
def test_nothing_is_lost_paid_twice_or_left_waiting(what: str):
    ended = campaign("--what", f"{what}={SEEDS[what]}")

    assert ended.returncode == 0, ended.stdout[-6000:]
    counts = re.findall(r"(\d+) (kill|lost_after|storage fails)", ended.stdout)
    assert "0 failures" in ended.stdout
    assert len(counts) > 1 or what in ("mutated", "delta", "tickets"), ended.stdout


def test_some_seeds_of_everything():
    some = {what: seeds // SHARE for what, seeds in SEEDS.items()}
    ended = campaign(*(f"--what={what}={seeds}" for what, seeds in some.items()))

    assert ended.returncode == 0, ended.stdout[-6000:]
    assert "0 failures" in ended.stdout
    for what, seeds in some.items():
        [told] = re.findall(rf"^{what}: (.*)", ended.stdout, re.MULTILINE)
        assert f"{seeds} seeds" in told
        counts = re.findall(r"(\d+) (kill|lost_after|storage fails)", told)
        assert len(counts) > 1 or what in ("mutated", "delta", "tickets"), told


@pytest.mark.long
def test_seed_replays_exactly():
    first, second = (campaign("--seeds", "3", "--first", "11", "--verbose") for _ in range(2))

    assert first.returncode == 0
    assert _history(first) == _history(second)
    assert len(_history(first)) > 50


def _history(ended: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in ended.stdout.splitlines() if re.match(r" *\d+\.\d{3} ", line)]
