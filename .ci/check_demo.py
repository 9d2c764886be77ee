"""Run scripts/demo as a user does, and check what it shows and that it leaves nothing behind."""

# ruff: noqa: S101, T201 - a check that prints what it saw

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

CHECKOUT = Path(__file__).parents[1]
DEMO_FOLDER = CHECKOUT / ".demo"
KEY = b"simulator-key"
TITLES = [
    "What changed on the agent",
    "The source that was added",
    "The training, as the sensor saw it",
    "The question and the answer",
    "The export's manifest",
    "The first conversations",
    "Where the time went",
]


def run_demo() -> str:
    """Run the demo and return what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHATBASE_")}
    demo = subprocess.run(  # noqa: S603
        [CHECKOUT / "scripts" / "demo"], env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    print(demo.stdout)
    if demo.returncode != 0:
        sys.exit(f"scripts/demo exited with {demo.returncode}")
    return demo.stdout


def check_story(shown: str) -> None:
    """Check that every section is there, in order, and that the wait was a deferral."""
    places = [shown.find(title) for title in TITLES]
    assert -1 not in places, f"missing: {[t for t, place in zip(TITLES, places, strict=True) if place < 0]}"
    assert places == sorted(places), "the sections are out of order"
    assert "wait_for_training is deferred" in shown
    assert "\x1b" not in shown, "escape codes where there is no terminal"


def check_nothing_is_left() -> None:
    """Check that no process works in the demo's folder any more, and no file holds the API key."""
    running = [process for process in psutil.process_iter() if _works_in_demo_folder(process)]
    assert not running, f"still running: {running}"
    files = [path for path in DEMO_FOLDER.rglob("*") if path.is_file()]
    assert files, f"{DEMO_FOLDER} is empty: nothing was checked"
    with_key = [path for path in files if KEY in path.read_bytes()]
    assert not with_key, f"the API key is in {with_key}"


def _works_in_demo_folder(process: psutil.Process) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(DEMO_FOLDER)
    except psutil.Error:
        return False


if __name__ == "__main__":
    check_story(run_demo())
    check_nothing_is_left()
