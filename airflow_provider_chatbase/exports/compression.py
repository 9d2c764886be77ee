"""Compressing a stream so that the same bytes always become the same bytes."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import IO, Any, Literal, cast

from airflow_provider_chatbase.client.errors import ChatbaseInputError

Compression = Literal["gzip", "zstd"]

SUFFIX: dict[str | None, str] = {None: "", "gzip": ".gz", "zstd": ".zst"}

_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3


def compressing(stream: IO[bytes], compression: str | None) -> AbstractContextManager[IO[bytes]]:
    """Wrap a stream; closing the result leaves the stream itself open."""
    return _WRITERS[compression](stream)


def decompressing(stream: IO[bytes], compression: str | None) -> IO[bytes]:
    """Read what :func:`compressing` wrote."""
    if compression == "gzip":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=stream, mode="rb"))
    if compression == "zstd":
        return io.BufferedReader(
            _zstandard().ZstdDecompressor().stream_reader(stream, read_across_frames=True)
        )
    return stream


def _gzip(stream: IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    # Neither a name nor a time in the header.
    return gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=_GZIP_LEVEL, mtime=0)  # type: ignore[return-value]


def _zstd(stream: IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    writer: AbstractContextManager[IO[bytes]] = (
        _zstandard().ZstdCompressor(level=_ZSTD_LEVEL).stream_writer(stream, closefd=False)
    )
    return writer


class _Plain(AbstractContextManager[IO[bytes]]):
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def __enter__(self) -> IO[bytes]:
        return self._stream

    def __exit__(self, *_error: object) -> None:
        """Leave the stream open."""


_WRITERS: dict[str | None, Callable[[IO[bytes]], AbstractContextManager[IO[bytes]]]] = {
    None: _Plain,
    "gzip": _gzip,
    "zstd": _zstd,
}


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise ChatbaseInputError(
            "compression 'zstd' needs the package zstandard: pip install 'airflow-provider-chatbase[zstd]'. "
            "Nothing was exported."
        ) from error
    return zstandard
