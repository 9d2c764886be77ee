"""Keeps a log from a line for each of thousands of requests."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


@contextmanager
def quiet_logs(names: Iterable[str], level: int) -> Iterator[None]:
    """
    Let loggers speak only of what is worse, for the time of a block.

    :param names: the loggers.
    :param level: the least level that they log.
    """
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(max(logger.level, level))
    try:
        yield
    finally:
        for logger, was in zip(loggers, before, strict=True):
            logger.setLevel(was)
