"""The page in front of the real service: ``python -m airflow_provider_chatbase.playground``."""

from __future__ import annotations

import argparse
import logging
import socket
import sys
from collections.abc import Sequence

import uvicorn

from airflow_provider_chatbase.client.transport import HTTP_LOGGER, quiet_logs
from airflow_provider_chatbase.command_line import CannotStartError, CommandLineHook
from airflow_provider_chatbase.playground import NO_ASSETS, PlaygroundPage, swagger_assets
from airflow_provider_chatbase.playground.proxy import application

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 8757

# What they would say is said by a sentence of ours.
_WORDY = (HTTP_LOGGER, "airflow_provider_chatbase.client")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until SIGINT or SIGTERM; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        with quiet_logs(_WORDY, logging.ERROR):
            _serve(options.connection, options.port)
    except CannotStartError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:  # uvicorn raises it again when it has ended
        pass
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_chatbase.playground",
        description="Serve a page to this machine alone, to try the Chatbase API and to chat with an agent. "
        "Calls are real and cost credits. The connection's API key stays here; the browser never has it.",
    )
    parser.add_argument(
        "--connection", required=True, metavar="CONN_ID", help="the Airflow connection to use"
    )
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="0 takes a free one (default: %(default)s)"
    )
    return parser


def _serve(conn_id: str, port: int) -> None:
    if swagger_assets() is None:
        raise CannotStartError(NO_ASSETS)
    hook = CommandLineHook(conn_id)
    page = _checked(hook)
    with _listening(port) as listener:
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            application(page, hook.connection.settings, port),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        logging.getLogger("uvicorn.error").addFilter(_is_a_fault)
        print(_greeting(page, port), flush=True)  # noqa: T201
        uvicorn.Server(config).run(sockets=[listener])


def _is_a_fault(record: logging.LogRecord) -> bool:
    """Leave out what uvicorn says of a reply that we cut, which is said already, and of its own end."""
    fault = record.exc_info and record.exc_info[1]
    return isinstance(fault, Exception)


def _checked(hook: CommandLineHook) -> PlaygroundPage:
    """Read the connection and try it, with a call that costs nothing."""
    conn_id = hook.chatbase_conn_id
    works, message = hook.test_connection()
    if not works:
        raise CannotStartError(f"The Airflow connection {conn_id!r} does not work: {message}")
    found = hook.connection
    return PlaygroundPage(
        is_real=True, address=found.settings.host, agent_id=found.agent_id, connection=conn_id
    )


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server((LOOPBACK, port))
    except (OSError, OverflowError) as error:
        raise CannotStartError(
            f"Cannot listen on port {port} ({error}): give another one with --port, or 0 for any free one."
        ) from None


def _greeting(page: PlaygroundPage, port: int) -> str:
    return (
        f"Chatbase playground\n"
        f"  open         http://{LOOPBACK}:{port}/\n"
        f"  calls go to  {page.address}, with the key of the Airflow connection {page.connection}\n"
        f"Calls are real and cost credits. Stop with Ctrl+C."
    )


if __name__ == "__main__":
    sys.exit(main())
