"""Green means done: what a batch left undone fails the task, unless it was told to put up with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_chatbase.batch.outcome import StopReason
from airflow_provider_chatbase.batch.results import Tally, in_words, verdict
from airflow_provider_chatbase.batch.settings import BatchSettings, read_settings
from airflow_provider_chatbase.exceptions import (
    ChatbaseBadPromptsError,
    ChatbaseBatchError,
    ChatbaseBatchLimitError,
)
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.simulator import Fault, Simulator
from tests.batch.conftest import new_batch, questions, rows_of

TENTH = BatchSettings().max_failure_rate


@pytest.mark.parametrize(("wrong", "fails"), [(2, False), (3, True), (20, True)])
def test_more_than_a_tenth_that_failed_is_no_success(
    simulator: Simulator, output: Directory, wrong: int, fails: bool
):
    batch = new_batch(simulator, output, max_failure_rate=TENTH)
    report = batch.ask_all([*questions(20 - wrong), *(f"[sim:error] {n}" for n in range(wrong))])
    answered = sum(row["outcome"] == "answered" for row in rows_of(output))
    assert answered == report.tally.outcomes["answered"] == 20 - wrong  # what is paid for is written
    if fails:
        with pytest.raises(ChatbaseBatchError, match=r"more than max_failure_rate 0\.1 allows"):
            verdict(report.tally, report.stopped, batch.settings)
    else:
        verdict(report.tally, report.stopped, batch.settings)


def test_a_limit_is_a_success_only_where_that_is_said(simulator: Simulator, output: Directory):
    batch = new_batch(simulator, output, max_credits=30)
    report = batch.ask_all(questions(50))
    assert (len(rows_of(output)), report.tally.outcomes["not_sent"]) == (50, 20)
    with pytest.raises(ChatbaseBatchLimitError, match=r"reached; 30 of 50.*on_limit='succeed'"):
        verdict(report.tally, report.stopped, batch.settings)
    verdict(report.tally, report.stopped, read_settings(on_limit="succeed"))


@pytest.mark.parametrize("stopped", [None, StopReason.REFUSED, StopReason.TIMEOUT])
def test_what_was_not_sent_without_a_limit_is_a_failure(stopped: StopReason | None):
    tally = Tally()
    tally.outcomes.update({"answered": 380, "not_sent": 20})  # type: ignore[call-overload]
    with pytest.raises(ChatbaseBatchError, match=r"380 of 400 prompts are answered.*20 were not sent"):
        verdict(tally, stopped, read_settings(on_limit="succeed", max_failure_rate=1))


@pytest.mark.parametrize("on_problem", ["report", "fail"])
def test_one_bad_record_is_its_own_problem(simulator: Simulator, output: Directory, on_problem: str):
    batch = new_batch(simulator, output, on_problem=on_problem)
    bad: list[Any] = [{"id": "x1", "message": float("nan")}, {"id": "x2", "message": ["a"]}]
    report = batch.ask_all([*questions(3), *bad])
    assert [row["outcome"] for row in rows_of(output)] == ["answered"] * 3 + ["failed"] * 2
    if on_problem == "fail":
        with pytest.raises(ChatbaseBadPromptsError, match=r"2 prompts cannot be sent: x1 \(message must be"):
            verdict(report.tally, report.stopped, batch.settings)
    else:
        verdict(report.tally, report.stopped, batch.settings)


def test_the_end_is_told_in_words(simulator: Simulator, output: Directory):
    report = new_batch(simulator, output, max_items=3, concurrency=1).ask_all(["", *questions(5)])
    assert in_words(report.tally, report.stopped) == (
        "3 of 6 prompts are answered, for 3 credits. 1 failed (INVALID_PROMPT 1x): each row of the results "
        "says why. Mend those prompts, or clear the task to try again what may pass. 2 were not sent, since "
        "max_items was reached. Raise it and clear the task to go on."
    )


def test_a_prompt_that_takes_too_long_is_given_up_and_found_later(
    start: Callable[..., Simulator], output: Directory
):
    with start(latency={"chatWithAgent": 3.0}) as simulator:
        report = new_batch(simulator, output, prompt_timeout=1, concurrency=4).ask_all(["a"])
        row = rows_of(output)[0]
        assert (row["outcome"], row["error_code"]) == ("ambiguous", "FAILED")
        assert "prompt_timeout of 1 s" in row["error_message"]
        assert report.manifest["seconds"] < 30
        new_batch(simulator, output, patience=4).ask_all(["a"])
        assert rows_of(output)[0]["outcome"] == "answered"
        assert simulator.prompts_charged == 1


def test_a_batch_ends_in_its_time_and_a_rerun_goes_on(
    start: Callable[..., Simulator], output: Directory, caplog: pytest.LogCaptureFixture
):
    with start(latency={"chatWithAgent": 0.2}) as simulator:
        batch = new_batch(simulator, output, batch_timeout=1, concurrency=2, grace=0.5)
        report = batch.ask_all(questions(100))
        assert report.stopped is StopReason.TIMEOUT
        with pytest.raises(ChatbaseBatchError, match=r"batch_timeout has passed\. Clear the task to go on"):
            verdict(report.tally, report.stopped, batch.settings)
        simulator.latency = {}
        new_batch(simulator, output).ask_all(questions(100))
        assert simulator.prompts_charged == 100


@pytest.mark.parametrize(("status", "code"), [(403, "PERMISSION_X"), (400, "VALIDATION_INVALID_BODY")])
def test_a_refusal_costs_nothing(simulator: Simulator, output: Directory, status: int, code: str):
    simulator.faults.add(Fault(kind="status", status=status, code=code, operation="chatWithAgent", times=8))
    report = new_batch(simulator, output, max_credits=4, concurrency=1).ask_all(questions(12))
    assert report.tally.outcomes == {"failed": 8, "answered": 4}
    assert (report.stopped, report.tally.credits_unknown) == (None, 0)


def test_the_last_line_counts_no_content(
    simulator: Simulator, output: Directory, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.INFO):
        report = new_batch(simulator, output).ask_all(["[sim:answer] secretword"])
    assert "secretword" not in caplog.text + in_words(report.tally, report.stopped)


@pytest.mark.parametrize("status", [400, 403, 408, 409, 425])
@pytest.mark.parametrize("arrived", [True, False])
def test_only_what_the_api_itself_refuses_was_refused(
    simulator: Simulator, output: Directory, status: int, arrived: bool
):
    page = b"<html>The upstream did not answer in time</html>"
    simulator.faults.add(
        Fault(
            kind="status",
            status=status,
            body=page,
            content_type="text/html",
            operation="chatWithAgent",
            after=arrived,
            times=1,
        )
    )
    new_batch(simulator, output).ask_all(["a"])
    [row] = rows_of(output)
    if arrived:
        assert (row["outcome"], row["recovered"], simulator.prompts_charged) == ("answered", True, 1)
    elif status in (400, 403):  # it never arrived, and would be refused again
        assert (row["outcome"], row["error_code"], simulator.prompts_charged) == (
            "failed",
            f"HTTP_{status}",
            0,
        )
    else:
        assert (row["outcome"], row["attempts"], simulator.prompts_charged) == ("answered", 2, 1)
