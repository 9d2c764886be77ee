"""Run scripts/demo as a user does, and check what it shows and that it leaves nothing behind."""

# ruff: noqa: S101, T201 - a check that prints what it saw

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import psutil

CHECKOUT = Path(__file__).parents[1]
DEMO_FOLDER = CHECKOUT / ".demo"
KEY = b"simulator-key"
STAYS = "Ctrl-C ends all of it"
TITLES = [
    "What will happen",
    "What changed on the agent",
    "The source that was added",
    "The training, as the sensor saw it",
    "The question and the answer",
    "The export's manifest",
    "The first conversations",
    "What is promised, and what came of it",
    "Airflow stays up",
    "Where the time went",
    "What to do next",
]
TOLD = [
    "wait_for_training is deferred",
    "kills the export with kill -9",
    "export failed and will be tried again",
]


def run_demo(picture: Path) -> str:
    """Run the demo, look at Airflow's page while it stays up, press Ctrl-C, and return what was printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHATBASE_")}
    command = [CHECKOUT / "scripts" / "demo", "--stay", "--picture", picture]
    # What a shell starts in the background ignores Ctrl-C, and hands that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    demo = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)  # noqa: S603
    assert demo.stdout is not None
    shown = ""
    for line in demo.stdout:
        print(line, end="")
        shown += line
        if STAYS in line:
            check_page(shown)
            demo.send_signal(signal.SIGINT)
    if demo.wait() != 0:
        sys.exit(f"scripts/demo exited with {demo.returncode}")
    return shown


def check_page(shown: str) -> None:
    """Check that Airflow's page is there, at the address that is told."""
    [address] = re.findall(r"^http://127\.0\.0\.1:\d+/dags/\S+$", shown, re.MULTILINE)
    page = httpx.get(address, trust_env=False, follow_redirects=True, timeout=60)
    assert page.status_code == httpx.codes.OK, page
    assert "Airflow" in page.text


def check_story(shown: str) -> None:
    """Check that every section is there, in order, and what the story tells."""
    places = [shown.find(title) for title in TITLES]
    assert -1 not in places, f"missing: {[t for t, place in zip(TITLES, places, strict=True) if place < 0]}"
    assert places == sorted(places), "the sections are out of order"
    words = " ".join(shown.split())
    assert [told for told in TOLD if told not in words] == []
    assert "1 question, 1 answer charged" in _cells(shown)
    [there, exported, different] = re.search(
        r"([\d,]+) at Chatbase, ([\d,]+) exported, ([\d,]+) different", _cells(shown)
    ).groups()  # type: ignore[union-attr]
    assert there == exported == different != "0"
    assert "HYPERLINK" not in shown, "a row that looks like an attack"
    assert "\x1b" not in shown, "escape codes where there is no terminal"


def check_picture(picture: Path) -> None:
    """Check that the picture shows the table, loads nothing, and tells nothing of this machine."""
    svg = picture.read_text(encoding="utf-8")
    assert "promise" in svg
    assert str(CHECKOUT) not in svg
    assert set(re.findall(r"https?://[^\"/ ]+", svg)) <= {"http://www.w3.org", "https://www.textualize.io"}


def _cells(shown: str) -> str:
    """Join what a table wraps: the text of its last column."""
    rows = [line.split("│") for line in shown.splitlines() if line.count("│") == 4]
    return " ".join(row[3].strip() for row in rows)


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
    with tempfile.TemporaryDirectory() as folder:
        check_story(run_demo(Path(folder) / "demo.svg"))
        check_picture(Path(folder) / "demo.svg")
    check_nothing_is_left()
