"""The command: ``python -m airflow_provider_chatbase.check --connection my_conn``."""

# ruff: noqa: T201 - a command speaks to whoever runs it
from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from airflow_provider_chatbase.check.calls import NO_JSON, NO_REPLY, Caller
from airflow_provider_chatbase.check.own_agent import COST, CannotDeleteError, study
from airflow_provider_chatbase.check.reading import WRONG_AGENT, read_all
from airflow_provider_chatbase.check.report import Report, kind
from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.client.transport import HTTP_LOGGER, quiet_logs
from airflow_provider_chatbase.command_line import CannotStartError, CommandLineHook

_WORDY = (HTTP_LOGGER, "airflow_provider_chatbase.client")


class Interruption:
    """Makes SIGINT and SIGTERM a ``KeyboardInterrupt``, once, and only in blocks that allow it."""

    def __init__(self) -> None:
        self.asked = False
        self._allowed = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hear both signals in a block."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self._hear) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Let a signal end the block, also one that came before it."""
        if self.asked:
            raise KeyboardInterrupt
        self._allowed = True
        try:
            yield
        finally:
            self._allowed = False

    def _hear(self, *_: object) -> None:
        may_raise, self.asked, self._allowed = self._allowed, True, False
        print("Stopping, once all is put in order.", file=sys.stderr, flush=True)
        if may_raise:
            raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, write the report, and return the exit code: 1 where a person has to do something."""
    options = _parser().parse_args(arguments)
    try:
        with quiet_logs(_WORDY, logging.ERROR):
            connection = CommandLineHook(options.connection).connection
            _write(options.report, "The check has begun, and has not ended.\n")
            caller, report = Caller(connection.settings), Report()
            interruption = Interruption()
            try:
                with interruption.heard():
                    code = _check(caller, report, connection.agent_id, options, interruption)
            finally:
                _tell_retry_after(caller, report)
                _write(options.report, report.text(caller.made))
                caller.close()
    except (CannotStartError, CannotDeleteError, ChatbaseError) as error:
        print(error, file=sys.stderr)
        return 1
    print(report.text(caller.made))
    print(f"This is in {options.report}, to be attached to a bug report: it holds no key and no content.")
    return code


def _check(
    caller: Caller,
    report: Report,
    agent_id: str | None,
    options: argparse.Namespace,
    interruption: Interruption,
) -> int:
    try:
        with interruption.allowed():
            v2 = read_all(caller, report, agent_id)
            is_agreed = options.with_a_test_agent and v2.works and _agrees(yes=options.yes)
        is_studied = not options.with_a_test_agent
        if is_agreed:
            caller.may_write = True
            is_studied = study(caller, report, interruption.allowed())
        elif options.with_a_test_agent:
            why = "nobody agreed to the cost" if v2.works else f"listAgents was answered {v2}"
            report.notes.append(f"No test agent was made: {why}.")
    except KeyboardInterrupt:
        report.notes.append("Stopped before its end.")
        return 130
    answers = [answer for _, operation, answer in caller.made if operation != "getHealth"]
    if any(answer.isdecimal() and answer.startswith("2") for answer in answers):
        return 0 if is_studied and WRONG_AGENT not in report.notes else 1
    raise CannotStartError(
        f"{_kept_out(answers)} {caller.first_error or ''} Each call is in {options.report}."
    )


def _kept_out(answers: Sequence[str]) -> str:
    if all(answer == NO_REPLY for answer in answers):
        return "Chatbase was not reached."
    if any(answer.endswith(NO_JSON) for answer in answers):
        return (
            "What answers is not Chatbase, or its answers were cut: they are no JSON. Check the connection's "
            "base URL, and whether a proxy answers in its place."
        )
    return "Neither API version lets the key in."


def _tell_retry_after(caller: Caller, report: Report) -> None:
    if caller.retry_after:
        told = {"whole seconds" if each.isdecimal() else kind(each or None) for each in caller.retry_after}
        report.settle("Retry-After of a 429", ", ".join(sorted(told)))


def _agrees(*, yes: bool) -> bool:
    print(COST, flush=True)
    try:
        return yes or input("Go on? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print("Nobody answered: give --yes to go on without being asked.", file=sys.stderr)
        return False


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CannotStartError(f"No report can be written ({error}): give --report another path.") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_chatbase.check",
        description="Ask Chatbase what a key, its plan and the API allow. It reads only, and costs nothing.",
    )
    add = parser.add_argument
    add("--connection", required=True, metavar="CONN_ID", help="the Airflow connection to use")
    add("--report", type=Path, default=Path("chatbase-check.md"), help="default: %(default)s")
    costs = "also make an agent, ask it once and delete it: this writes, and costs credits"
    add("--with-a-test-agent", action="store_true", help=costs)
    add("--yes", action="store_true", help="do not ask before credits are spent")
    return parser


if __name__ == "__main__":
    sys.exit(main())
