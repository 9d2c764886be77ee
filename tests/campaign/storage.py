"""An object store of simulated processes, whose reads and writes take time and fail."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem

from airflow_provider_chatbase.files.directory import Directory
from tests.campaign.clockwork import EPOCH, Clockwork, Killed, current_process, sleep

LATEST_WRITE = 8.0  # seconds that a write may still be on its way when its process is dead


class StoreError(Exception):
    """What the library of some store raises: not an ``OSError``."""


@dataclass
class StorageWeather:
    """How bad the storage is."""

    fails_before: float = 0.0  # chance that an operation fails, and did nothing
    fails_after: float = 0.0  # chance that a write fails, and was done
    slowness: float = 0.02  # seconds that an operation takes, about
    slowest_put: float = 0.0  # chance that a write takes half a minute
    late: float = 0.0  # chance that a write of a process that is killed meanwhile arrives after it
    is_os_error: bool = True

    @classmethod
    def of(cls, rng: random.Random) -> StorageWeather:
        """Draw the weather of a scenario."""
        bad = rng.random() < 0.35
        return cls(
            fails_before=rng.uniform(0.005, 0.08) if bad else 0.0,
            fails_after=rng.uniform(0.0, 0.04) if bad else 0.0,
            slowness=rng.choice([0.005, 0.05, 0.3]),
            slowest_put=0.02 if rng.random() < 0.2 else 0.0,
            is_os_error=rng.random() < 0.5,
            late=rng.choice([0.0, 0.8]),
        )


class ObjectStore(AbstractFileSystem):
    """Objects by their paths; a listing shows what was written before it."""

    protocol = "memory"  # of the kinds without folders of their own
    cachable = False

    def __init__(self, clockwork: Clockwork, seed: object) -> None:
        super().__init__()
        self.clockwork = clockwork
        self.random = random.Random(f"storage {seed}")
        self.weather = StorageWeather()
        self.objects: dict[str, tuple[bytes, float]] = {}
        self.after_change: Callable[[str], None] = lambda path: None
        self.before_put: Callable[[str, bytes], None] = lambda path, content: None

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        self._reads("read", path)
        return self._found(path)[0][start:end]

    def pipe_file(self, path: str, value: bytes, **_: Any) -> None:
        self._write("write", path, lambda: self._put(path, bytes(value)))

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        content = Path(lpath).read_bytes()
        self._write("write", rpath, lambda: self._put(rpath, content))

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        self._write("write", path2, lambda: self._put(path2, self._found(path1)[0]))

    def rm_file(self, path: str) -> None:
        def remove() -> None:
            self._found(path)
            del self.objects[path]

        self._write("remove", path, remove)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        self._reads("list", path)
        prefix = path.rstrip("/") + "/"
        inside = [name.removeprefix(prefix) for name in self.objects if name.startswith(prefix)]
        if not inside:
            raise FileNotFoundError(path)
        folders = {name.partition("/")[0] for name in inside if "/" in name}
        files = {name for name in inside if "/" not in name}
        found = [{"name": prefix + each, "type": "directory", "size": 0} for each in sorted(folders)]
        for each in sorted(files):
            content = self.objects[prefix + each][0]
            found.append({"name": prefix + each, "type": "file", "size": len(content)})
        return found if detail else [each["name"] for each in found]

    def isdir(self, path: str) -> bool:
        self._reads("list", path)
        return any(name.startswith(path.rstrip("/") + "/") for name in self.objects)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        self._reads("read", path)
        return {"name": path, "type": "file", "size": len(self._found(path)[0])}

    def exists(self, path: str, **_: Any) -> bool:
        self._reads("read", path)
        return path in self.objects or any(name.startswith(path.rstrip("/") + "/") for name in self.objects)

    def modified(self, path: str) -> datetime:
        self._reads("read", path)
        return datetime.fromtimestamp(self._found(path)[1], UTC)

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        if mode != "rb":
            raise NotImplementedError(mode)
        return io.BytesIO(self.cat_file(path))

    def invalidate_cache(self, path: str | None = None) -> None:
        """Have no cache."""

    def _put(self, path: str, content: bytes) -> None:
        self.before_put(path, content)
        self.objects[path] = (content, EPOCH + self.clockwork.now)

    def _found(self, path: str) -> tuple[bytes, float]:
        if path not in self.objects:
            raise FileNotFoundError(path)
        return self.objects[path]

    def _reads(self, what: str, path: str) -> None:
        self.clockwork.point()
        sleep(self.random.expovariate(1 / self.weather.slowness))
        self.fails(self.weather.fails_before, f"{what} {path}")
        self.clockwork.point()

    def _write(self, what: str, path: str, change: Callable[[], None]) -> None:
        """Change something: it may fail, and the process may die, before it was done or after."""
        weather, what = self.weather, f"{what} {path}"
        self.clockwork.point()
        slow = weather.slowest_put and self.random.random() < weather.slowest_put
        sleep(30.0 if slow else self.random.expovariate(1 / weather.slowness))
        self.fails(weather.fails_before, what)
        process = current_process()
        process.writes += 1
        if process.writes == process.kill_at_write:
            process.kill_at = process.points + 1
        try:
            self.clockwork.point()
        except Killed:
            if self.random.random() < weather.late:
                self._arrives_late(what, change)
            raise
        change()
        self.after_change(what)
        sleep(self.random.expovariate(1 / weather.slowness))
        self.fails(weather.fails_after, f"{what}, though it was done")
        self.clockwork.point()

    def _arrives_late(self, what: str, change: Callable[[], None]) -> None:
        def arrive() -> None:
            with suppress(FileNotFoundError):
                self.clockwork.note("late write", what)
                change()
                self.after_change(what)

        self.clockwork.at(self.clockwork.now + self.random.uniform(0.05, LATEST_WRITE), arrive)

    def fails(self, chance: float, what: str) -> None:
        """Fail by chance."""
        if chance and self.random.random() < chance:
            self.clockwork.note("storage fails", what)
            kinds = [
                OSError(5, "Input/output error"),
                PermissionError(13, "SlowDown"),
                TimeoutError("timed out"),
            ]
            raise self.random.choice(kinds) if self.weather.is_os_error else StoreError("503 Slow Down")


def directory(store: ObjectStore, name: str = "out") -> Directory:
    """Return a directory in the store."""
    return Directory(store, f"bucket/{name}", f"sim://bucket/{name}")
