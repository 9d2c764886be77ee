"""A sync that is killed, again and again, ends where one that was not would have."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("syncing.py")
OLD, NEW = 24, 24
PATIENCE = 200


def start(desk):
    record = desk.folder.parent / "links.json"
    command = [sys.executable, str(SCRIPT), desk.simulator.url, desk.agent_id, str(desk.folder), str(record)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def kill_after(desk, process, writes):
    """Kill the process at the moment when the simulator has its so many-th write in its hands."""
    count = 0
    gone = threading.Event()

    def watch(request):
        nonlocal count
        if request.method != "GET":
            count += 1
            if count == writes:
                gone.set()  # before it is gone, or whoever waits for that may look here too early
                process.kill()
                process.wait(PATIENCE)  # meanwhile the server stands still: a slow death lets nothing through

    desk.simulator.on_request = watch
    process.wait(PATIENCE)
    desk.simulator.on_request = None
    return gone.is_set()


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1])
def test_kills_at_random_moments_leave_no_duplicate_and_no_leftover(desk, seed):
    desk = desk(training_seconds=0.05, latency={"*": 0.002})
    chance = random.Random(seed)
    for number in range(OLD):
        desk.write(f"old {number}.{chance.choice(['md', 'txt'])}", f"old text {number}")
    assert start(desk).wait(PATIENCE) == 0
    for path in sorted(desk.folder.iterdir()):
        fate = chance.choice(["stay", "edit", "rename", "remove"])
        if fate == "edit":
            path.write_text(path.read_text().upper())
        elif fate == "rename":
            path.rename(path.with_name(f"renamed {path.name}"))
        elif fate == "remove":
            path.unlink()
    for number in range(NEW):
        desk.write(f"new {number}.{chance.choice(['md', 'txt'])}", f"new text {number}")

    killed = 0
    while killed < 6 and kill_after(desk, start(desk), chance.randint(1, 9)):
        killed += 1
    last = start(desk)
    output, _ = last.communicate(timeout=PATIENCE)

    assert last.returncode == 0, output
    assert killed >= 3
    expected = {path.name: path.read_text() for path in desk.folder.iterdir()}
    sources = desk.simulator.store.sources(desk.agent_id)
    ours = {s.name.removeprefix("docs:").rsplit(" #", 1)[0]: s.content for s in desk.ours.values()}
    assert ours == expected
    assert [name for name, count in Counter(source.name for source in sources).items() if count > 1] == []
    assert len(desk.ours) == len(expected)
    assert len(desk.links()) == 4
    desk.simulator.reset_log()
    assert start(desk).wait(PATIENCE) == 0
    assert desk.writes == []
