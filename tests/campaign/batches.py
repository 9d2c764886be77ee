"""Scenarios about batches of prompts: what they pay, what they keep, and what they never ask twice."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from typing import Any

from airflow_provider_chatbase.batch.prompt_batch import PromptBatch
from airflow_provider_chatbase.batch.settings import BatchSettings, read_settings
from tests.campaign.clockwork import EPOCH, Clockwork, Process
from tests.campaign.scenario import Scenario
from tests.campaign.storage import directory

Prompts = list[dict[str, Any]]

RESULTS = "bucket/out/results.jsonl"
LOSES_WHAT_WAS_KNOWN = ("kill", "time-out", "freeze", "storage fails", "two at once", "checkpoint lost")


def batch(clockwork: Clockwork, seed: int) -> None:
    """Prompts are paid once, whatever happens, and what was paid for is in the results."""
    scenario = Scenario(seed, clockwork)
    rng = scenario.random
    prompts = _draw_prompts(rng)
    limit = rng.choice([None, None, None, rng.randint(0, len(prompts))])
    settings = read_settings(
        concurrency=rng.choice([1, 3, 8]),
        max_failure_rate=1,
        max_credits=limit,
        dedupe=rng.random() < 0.2,
    )
    loses, is_cached = rng.random() < 0.15, rng.random() < 0.2
    tries = _Tries(scenario, prompts, settings, knows_tries=loses or rng.random() < 0.5)
    if loses:
        scenario.before_try = lambda number: _lose_checkpoint(scenario, number)
    tries.cache = directory(scenario.store, "cache") if is_cached else None
    scenario.store.before_put = lambda path, content: _require_appended(scenario, path, content)
    scenario.try_until_through(tries.ask_all)
    scenario.require_sound()
    asked = _asked(prompts, settings)
    paid = answers_by_question(scenario)
    _require_paid_once(scenario, paid, asked)
    require_asked_once(scenario, asked)
    _require_within(scenario, limit, settings.concurrency)
    shares = settings.dedupe or is_cached
    doubtful = {"ambiguous"} if limit is not None or loses else set()
    if limit is not None and loses:
        doubtful.add("not_sent")  # a limit that is reached looks for nothing
    may_stop = limit is not None
    inputs = list(tries.given.values())
    _require_rows(scenario, inputs, paid, shares=shares, doubtful=doubtful, may_stop=may_stop)
    if is_cached and limit is None:
        _require_cached(scenario, tries, asked, paid)


def _draw_prompts(rng: random.Random) -> Prompts:
    """Draw prompts, with ids or without, and some that are alike."""
    have_ids, found = rng.random() < 0.6, []
    for number in range(rng.randint(3, 12)):
        like = rng.choice(found) if found and rng.random() < 0.1 else {}
        prompt = {"message": f"[sim:answer] Question {number}", **like}
        if have_ids:
            prompt["id"] = f"q{number}"
        if not like and rng.random() < 0.2:
            prompt["user_id"] = rng.choice(["anna", "bert"])
        found.append(prompt)
    return found


class _Tries:
    """A batch that is tried again and again; each try may find the input in another order."""

    def __init__(
        self, scenario: Scenario, prompts: Prompts, settings: BatchSettings, *, knows_tries: bool
    ) -> None:
        self.run, self.cache = "run", None
        self.given: dict[str, Prompts] = {}
        self._scenario, self._prompts, self._settings = scenario, prompts, settings
        self._began: list[float] = []
        self._knows_tries = knows_tries
        self._shuffles = scenario.random.random() < 0.5

    def ask_all(self, process: Process) -> Any:
        """Ask all, as one try."""
        scenario = self._scenario
        prompts = self.given[process.name] = list(self._prompts)
        if self._shuffles:
            random.Random(f"{scenario.seed} {process.name}").shuffle(prompts)
        self._began.append(EPOCH + scenario.clockwork.now + process.skew)
        tries: dict[str, Any] = {}
        if self._knows_tries and len(self._began) > 1:
            tries = {"try_number": len(self._began), "earlier_try_began": self._began[0]}
        return PromptBatch(
            connection=scenario.connection(process),
            agent_id=scenario.agent.id,
            run=self.run,
            output=directory(scenario.store),
            settings=self._settings,
            cache=self.cache,
            **tries,
        ).ask_all(prompts)


def _lose_checkpoint(scenario: Scenario, number: int) -> None:
    """Lose what is known of earlier tries, as a disk that dies with its machine does."""
    if all(each.ended for each in scenario.processes) and scenario.random.random() < 0.5 and number > 1:
        for name in [name for name in scenario.store.objects if "/_checkpoint/" in name]:
            scenario.clockwork.notes["checkpoint lost"] = 1
            del scenario.store.objects[name]


def _require_appended(scenario: Scenario, path: str, content: bytes) -> None:
    """Let nothing be written over a log, but what begins with all that is in it, or where it says nothing."""
    if not path.endswith(".jsonl") or "/_checkpoint/" not in path:
        return
    there, _ = scenario.store.objects.get(path, (b"", 0.0))
    said = [line for line in there.splitlines(keepends=True) if json.loads(line)["key"]]
    if said and not content.startswith(there):
        scenario.broken.append(f"{path} was written over: {said}")


def _asked(prompts: Prompts, settings: BatchSettings) -> Counter[str]:
    """Return how often each question may be paid."""
    questions = [(each["message"], each.get("user_id")) for each in prompts]
    return Counter(message for message, _ in (set(questions) if settings.dedupe else questions))


def answers_by_question(scenario: Scenario) -> dict[str, list[str]]:
    """Return the answers that were made, by the text of the question."""
    found: dict[str, list[str]] = {}
    for conversation in scenario.world.store.conversations(scenario.agent.id):
        question = None
        for message in conversation.messages if conversation.recipe is None else ():
            if message.role == "user":
                question = message.text
            elif question is not None:
                found.setdefault(question, []).append(message.text)
    return found


def _require_paid_once(scenario: Scenario, paid: dict[str, list[str]], asked: Counter[str]) -> None:
    twice = {name: len(answers) for name, answers in paid.items() if len(answers) > asked[name]}
    assert not twice, f"paid twice: {twice}"
    assert scenario.world.ledger.prompts_charged == sum(map(len, paid.values())), "charged without an answer"


def require_asked_once(scenario: Scenario, asked: Counter[str]) -> None:
    """Let no question be there twice, even where nobody answered it."""
    made = (each for each in scenario.world.store.conversations(scenario.agent.id) if each.recipe is None)
    there = Counter(each.text for made in made for each in made.messages if each.role == "user")
    twice = {name: there[name] for name in asked if there[name] > asked[name]}
    assert not twice, f"asked twice: {twice}"


def _require_within(scenario: Scenario, limit: int | None, concurrency: int) -> None:
    """Let no more be spent than allowed, but where it was lost what was spent."""
    if limit is not None:
        lost = scenario.clockwork.notes.get("checkpoint lost")
        most = limit + (concurrency * len(scenario.processes) if lost else 0)
        spent = scenario.world.ledger.credits_charged
        assert spent <= most, f"spent {spent:g}, and {limit} were allowed"


def _require_rows(
    scenario: Scenario,
    inputs: list[Prompts],
    paid: dict[str, list[str]],
    *,
    shares: bool,
    doubtful: set[str],
    may_stop: bool,
) -> None:
    """Let the results have each prompt in its place in one try's input, and each answer that was paid for."""
    rows = [json.loads(line) for line in scenario.store.objects[RESULTS][0].splitlines()]
    orders = [[(each.get("id", str(at)), each["message"]) for at, each in enumerate(of)] for of in inputs]
    assert [(row["id"], row["message"]) for row in rows] in orders, "a row is missing, or twice"
    open_outcomes = {"failed", "ambiguous", "unanswered", *(["not_sent"] if may_stop else [])}
    for message, answers in {**dict.fromkeys(row["message"] for row in rows), **paid}.items():
        of_it = [row for row in rows if row["message"] == message]
        told = Counter(row["text"] for row in of_it if row["outcome"] == "answered")
        doubted = sum(row["outcome"] in doubtful for row in of_it)
        lost = Counter(answers or ()) - told
        assert lost.total() <= doubted, f"a paid answer is lost: {of_it}"
        assert shares or not told - Counter(answers or ()), f"nobody paid for it: {of_it}"
        assert set(told) <= set(answers or ()), f"it is another answer: {of_it}"
        rest = {row["outcome"] for row in of_it} - {"answered"}
        assert rest <= open_outcomes, f"nobody answered: {of_it}"


def _require_cached(
    scenario: Scenario, tries: _Tries, asked: Counter[str], paid: dict[str, list[str]]
) -> None:
    """Let another run answer from what is kept, and pay only what nobody lived to keep."""
    lost = any(scenario.clockwork.notes.get(each) for each in LOSES_WHAT_WAS_KNOWN)
    tries.run = "another run"
    scenario.try_calmly(tries.ask_all)
    again = answers_by_question(scenario)
    most = {name: 2 * asked[name] if lost else len(answers) for name, answers in paid.items()}
    twice = {name for name in most if len(again[name]) > most[name]}
    assert not twice, f"paid again, though it was kept: {twice}"
    told = [json.loads(line) for line in scenario.store.objects[RESULTS][0].splitlines()]
    wrong = [row for row in told if row["outcome"] == "answered" and row["text"] not in again[row["message"]]]
    assert not wrong, f"it is another answer: {wrong}"


def batch_v1(clockwork: Clockwork, seed: int) -> None:
    """Without a way to look, no prompt is sent again whose fate is unknown, and none is lost silently."""
    scenario = Scenario(seed, clockwork)
    rng = scenario.random
    prompts = [{"id": f"q{number}", "message": f"Question {number}"} for number in range(rng.randint(3, 12))]
    settings = read_settings(concurrency=rng.choice([1, 3, 8]), max_failure_rate=1)
    output = directory(scenario.store)

    def work(process: Process) -> Any:
        connection = replace(scenario.connection(process), api_version="v1")
        return PromptBatch(
            connection=connection, agent_id=scenario.agent.id, run="run", output=output, settings=settings
        ).ask_all(prompts)

    scenario.store.before_put = lambda path, content: _require_appended(scenario, path, content)
    scenario.try_until_through(work)
    scenario.require_sound()
    rows = [json.loads(line) for line in scenario.store.objects[RESULTS][0].splitlines()]
    assert [row["id"] for row in rows] == [each["id"] for each in prompts], "a row is missing, or twice"
    outcomes = Counter(row["outcome"] for row in rows)
    charged = scenario.world.ledger.prompts_charged
    most = outcomes["answered"] + outcomes["ambiguous"]
    assert outcomes["answered"] <= charged <= most, f"charged {charged} times, and it says {outcomes}"
