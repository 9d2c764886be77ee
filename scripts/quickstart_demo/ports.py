"""Free ports on the loopback interface."""

import random
import socket

BELOW_WHAT_CONNECTIONS_GET = range(20_000, 32_000)
"""A port of those could be a connection's own by the time that a slow server takes it."""


def free_port() -> int:
    """Return a port that nothing listens on now."""
    while True:
        port = random.choice(BELOW_WHAT_CONNECTIONS_GET)  # noqa: S311 - nothing to guess
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
