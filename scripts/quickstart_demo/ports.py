"""Free ports on the loopback interface."""

import random
import socket

BELOW_WHAT_CONNECTIONS_GET = range(20_000, 32_000)
"""The higher ones it may have given to a connection by the time that a slow server takes its port."""


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
