"""Command line of the simulator."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from airflow_provider_chatbase.simulator import Fault, Settings, Simulator
from airflow_provider_chatbase.simulator.faults import KINDS

_RECORDED = 10_000
_OPTIONS: dict[str, tuple[type, str]] = {
    "host": (str, "address to listen on"),
    "port": (int, "port; 0 takes a free one"),
    "api_key": (str, "key that is accepted"),
    "seed": (int, "decides all made-up data"),
    "conversations": (int, "how many"),
    "training_seconds": (float, "how long a source trains"),
    "latency": (float, "seconds before each reply"),
    "rate_limit": (int, "requests per window"),
    "rate_window": (float, "seconds"),
}
_DEFAULTS = Settings(port=8756, training_seconds=3.0)  # as people like it who look on
_EPILOG = """
faults (KIND:OPERATION:PROBABILITY, e.g. 503:*:0.05, reset_after:chatWithAgent:0.1, slow=2:getAgent:1):
  KIND is an HTTP status or one of these; =SECONDS sets the wait of slow and drip
{kinds}
  OPERATION is an operationId such as chatWithAgent or exportConversations; * means any

control while it runs, without a key; on an address that others reach, with the token that is printed
(-H "Authorization: Bearer TOKEN", or the one of --set control_token=TOKEN):
  curl -X POST URL/_simulator/faults -d '{{"kind": "status", "status": 429, "times": 3, "retry_after": 1}}'
  curl -X DELETE URL/_simulator/faults
  curl URL/_simulator/state
  curl -X POST URL/_simulator/conversations -d '{{"count": 5}}'
  curl -X POST URL/_simulator/reset
"""


def parse_fault(text: str) -> Fault:
    """Read a fault from ``KIND:OPERATION:PROBABILITY``; the last two may be left out."""
    kind, _, rest = text.partition(":")
    operation, _, probability = rest.partition(":")
    kind, _, seconds = kind.partition("=")
    shared = {
        "operation": None if operation in {"", "*"} else operation,
        "probability": float(probability or 1),
        "seconds": float(seconds or 1),
    }
    if not kind.isdigit():
        return Fault(kind=kind, **shared)  # type: ignore[arg-type]
    code = "SERVICE_UNDER_MAINTENANCE" if kind == "503" else None
    retry_after = 1.0 if kind == "429" else None
    return Fault(kind="status", status=int(kind), code=code, retry_after=retry_after, **shared)  # type: ignore[arg-type]


def parse_switch(text: str) -> tuple[str, Any]:
    """Read a setting from ``NAME=VALUE``; the value is JSON or, failing that, a text."""
    name, _, value = text.partition("=")
    if name not in {each.name for each in fields(Settings)}:
        raise ValueError(f"There is no setting {name!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def settings_of(options: argparse.Namespace) -> Settings:
    """Return the settings that the command line asks for."""
    switches: dict[str, Any] = {name: getattr(options, name) for name in _OPTIONS} | dict(options.switches)
    switches.setdefault("record_limit", _RECORDED)
    return Settings.unkind(**switches) if options.unkind else Settings(**switches)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    kinds = "\n".join(f"    {name:14} {meaning}" for name, meaning in KINDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_chatbase.simulator",
        description="Run a stand-in Chatbase (API v2 and v1) on this machine, without an account.",
        epilog=_EPILOG.format(kinds=kinds),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    for name, (kind, meaning) in _OPTIONS.items():
        default = getattr(_DEFAULTS, name)
        add(f"--{name.replace('_', '-')}", type=kind, default=default, help=f"{meaning} (default: {default})")
    add(
        "--fault",
        type=parse_fault,
        action="append",
        default=[],
        metavar="KIND:OPERATION:PROBABILITY",
        help="a fault, repeatable; see below",
    )
    add("--unkind", action="store_true", help="be as awkward as the API description allows")
    add(
        "--set",
        type=parse_switch,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="switches",
        help="any other setting, e.g. split_stream=7 or 'latency={\"chatWithAgent\": 2}'",
    )
    add("--quiet", action="store_true", help="print only the address")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the simulator until SIGINT or SIGTERM; return the exit code."""
    options = build_parser().parse_args(arguments)
    simulator = Simulator(settings_of(options))
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    simulator.faults.add(*options.fault)
    try:
        simulator.start()
    except OSError as error:
        place = f"{options.host}:{options.port}"
        print(  # noqa: T201
            f"Cannot listen on {place} ({error}): give another port with --port, or 0 for any free one.",
            file=sys.stderr,
        )
        return 1
    print(simulator.url if options.quiet else _greeting(simulator), flush=True)  # noqa: T201
    stopped.wait()
    simulator.stop()
    return 0


def _greeting(simulator: Simulator) -> str:
    connection = {
        "conn_type": "chatbase",
        "host": simulator.url,
        "password": simulator.api_key,
        "extra": {"agent_id": simulator.agent_id},
    }
    return (
        f"Chatbase simulator\n"
        f"  URL       {simulator.url}\n"
        f"  API key   {simulator.api_key}\n"
        f"  agent id  {simulator.agent_id}\n"
        + (
            f"  control   Authorization: Bearer {simulator.control_token}\n"
            if simulator.control_token
            else ""
        )
        + f"An Airflow connection to it:\n"
        f"  export AIRFLOW_CONN_CHATBASE_DEFAULT='{json.dumps(connection)}'\n"
        f"Open {simulator.url}/ in a browser to try things by hand. Stop with Ctrl+C."
    )


if __name__ == "__main__":
    sys.exit(main())
