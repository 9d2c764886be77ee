"""The scenarios of the campaign, and what has to be so in each of them whatever happens."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

from deltalake import DeltaTable

from airflow_provider_chatbase.client import AsyncChatbaseClient, ChatbaseClient
from airflow_provider_chatbase.client.asking import Rules, ask
from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.client.question import Question, tag_of
from airflow_provider_chatbase.client.v2.conversations import export_conversations
from airflow_provider_chatbase.exports import parallel, reading
from airflow_provider_chatbase.exports.delta import read_watermark
from airflow_provider_chatbase.exports.delta_table import CurrentTable
from airflow_provider_chatbase.exports.delta_target import DeltaSettings, DeltaTarget
from airflow_provider_chatbase.exports.export import ExportSettings, export
from airflow_provider_chatbase.exports.files_target import FileSettings, FilesTarget
from airflow_provider_chatbase.exports.window import Window, compact
from airflow_provider_chatbase.files.delta_storage import find_storage
from airflow_provider_chatbase.simulator.agents import add_source
from airflow_provider_chatbase.simulator.conversations import Conversation
from airflow_provider_chatbase.simulator.exchange import ReceivedRequest
from airflow_provider_chatbase.simulator.seed import add_message, create_conversations
from airflow_provider_chatbase.sync.declaration import read_records
from airflow_provider_chatbase.sync.plan import SyncOptions
from airflow_provider_chatbase.sync.sync import SourceSync
from tests.campaign.batches import answers_by_question, batch, batch_v1, require_asked_once
from tests.campaign.clockwork import EPOCH, Clockwork, Process, running, sleep
from tests.campaign.customers import contacts, templates
from tests.campaign.network import LATEST
from tests.campaign.scenario import Scenario
from tests.campaign.storage import directory

DAY = 86_400


def message(clockwork: Clockwork, seed: int) -> None:
    """A message is paid once over all tries, and the answer that comes back is its own."""
    scenario = Scenario(seed, clockwork)
    rng = scenario.random
    text = f"[sim:answer] Question of {seed}"
    streamed, tag, began = rng.random() < 0.3, tag_of("run", seed), []
    conversation_id = None
    if rng.random() < 0.3:
        made = create_conversations(
            scenario.world, scenario.agent.id, message=text, user_id="anna", at=EPOCH - 3 * DAY
        )
        conversation_id = made[0].id
        scenario.before_try = lambda number: _let_others_go_on(scenario, made[0])
    asked_before = answers_by_question(scenario)

    def work(process: Process) -> Any:
        earlier = began[0] if began else None
        began.append(EPOCH + clockwork.now + process.skew)
        question = Question(
            agent_id=scenario.agent.id,
            message=text,
            tag=tag,
            conversation_id=conversation_id,
            earlier_try_began=earlier,
            stream=streamed,
        )
        with ChatbaseClient(scenario.connection(process)) as client:
            return client.run(ask(client.api, question, Rules()))

    # Two messages at once are Airflow's to prevent: nothing but the API could keep them apart.
    try:
        process = scenario.try_until_through(work, at_once=0.0)
    except AssertionError:
        _require_reason(scenario)
        process = None
    scenario.require_sound()
    answers = answers_by_question(scenario).get(text, [])
    before = len(asked_before.get(text, []))
    assert len(answers) - before <= 1, f"paid {len(answers) - before} times"
    require_asked_once(scenario, Counter({text: 1 if conversation_id is None else 2}))
    if process is not None:
        assert len(answers) - before == 1, "success without an answer"
        assert process.result.text == answers[-1], "the answer is not its own"


def _let_others_go_on(scenario: Scenario, conversation: Conversation) -> None:
    """Let a conversation be continued by somebody else, between two tries."""
    if scenario.random.random() < 0.3:
        scenario.clockwork.let_pass(60.0)  # what is on its way arrives, and is answered
        for role, text in (("user", "Something else?"), ("assistant", "Something else.")):
            add_message(
                scenario.world, scenario.agent, conversation, role, text, EPOCH + scenario.clockwork.now
            )


def _require_reason(scenario: Scenario) -> None:
    """Let a message end in doubt only where something happened that leaves its fate open."""
    doubtful = ("late", "lost_after", "silence", "cut", "error_after", "odd_status", "unanswered", "kill")
    doubtful += ("error_before", "lost_before", "freeze")
    clocks_differ = any(abs(process.skew) > 60 for process in scenario.processes)  # which try sent it?
    assert clocks_differ or any(scenario.clockwork.notes.get(each) for each in doubtful), (
        "never through, without a reason"
    )


def exported(clockwork: Clockwork, seed: int) -> None:
    """An export has each conversation of its window once, as it is."""
    count = random.Random(f"conversations {seed}").choice([0, 1, 25, 60, 130, 250])
    switches = {"conversations": count, "odd_data": True, "months": 1}
    scenario = Scenario(seed, clockwork, switches, wrong_pages=True)
    rng = scenario.random
    window = draw_window(scenario)
    look = FileSettings(partition_by=rng.choice([None, "day"]))
    cut_small(rng)
    settings = ExportSettings(
        kind="conversations", agent_id=scenario.agent.id, window=window, attempt="attempt"
    )
    output = directory(scenario.store)

    def exporting(this: Window) -> Callable[[Process], Any]:
        def work(process: Process) -> Any:
            connection = scenario.connection(process)

            async def client() -> AsyncChatbaseClient:
                return AsyncChatbaseClient(connection)

            # Attempts that cut the window in other ways leave parts that overlap.
            concurrency = random.Random(f"{seed} {process.name}").choice([1, 4, 16])
            own = replace(settings, window=this, concurrency=concurrency)
            return export(client, FilesTarget(output, own, look), own)

        return work

    scenario.store.after_change = lambda what: _require_whole(scenario, what)
    is_beyond, day = rng.random() < 0.3, timedelta(days=1)
    earlier, *gap = (Window(window.start - days * day, window.start - (days - 1) * day) for days in (3, 2, 1))
    if is_beyond:
        scenario.try_calmly(exporting(earlier))
    process = scenario.try_until_through(exporting(window), at_once=0.5)
    scenario.require_sound()
    truth = _truth(scenario, window)
    seen = exported_objects(scenario, process.result.manifests)
    ids = Counter(each["id"] for each in seen)
    assert not [each for each, times in ids.items() if times > 1], "a conversation is there twice"
    assert set(ids) == set(truth), f"missing {set(truth) - set(ids)}, too many {set(ids) - set(truth)}"
    wrong = [each["id"] for each in seen if [m["id"] for m in each["messages"]] != truth[each["id"]]]
    assert not wrong, f"messages are missing in {wrong}"
    manifests = process.result.manifests
    _require_watermark(scenario, earlier.end if is_beyond else window.end)
    if is_beyond or rng.random() < 0.2:
        scenario.try_calmly(*map(exporting, gap))
        _require_watermark(scenario, window.end)
        assert exported_objects(scenario, manifests) == seen, "a backfill touched what was there"


def _require_watermark(scenario: Scenario, at: datetime) -> None:
    """Let one watermark be there: where everything was exported until, without a gap."""
    there = [name for name in scenario.store.objects if "/_watermark/created-" in name]
    assert there == [f"bucket/out/_watermark/created-{compact(at)}.json"], f"{there} is not {at}"


def cut_small(rng: random.Random) -> None:
    """Let pages be small, and parts be few pages, so that some hundred conversations make many of both."""
    limit, parallel.LEAST_PAGES = rng.choice([(20, 4), (20, 2), (5, 2), (3, 1)])
    reading.export_conversations = partial(export_conversations, limit=limit)


def draw_window(scenario: Scenario) -> Window:
    """Draw a window of days, and put conversations to its very edges."""
    rng, midnight = scenario.random, EPOCH // DAY * DAY
    start, end = midnight - rng.randint(1, 30) * DAY, midnight - rng.choice([0, 0, 1]) * DAY
    if end <= start:
        end = midnight
    for _ in range(rng.randint(0, 3)):
        for at in (start, end, end - 1, start - 1):
            create_conversations(scenario.world, scenario.agent.id, at=at, source="Email")
    return Window(datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC))


def _truth(scenario: Scenario, window: Window) -> dict[str, list[str]]:
    """Return the conversations of a window with their messages."""
    return {
        each.id: [message.id for message in each.messages]
        for each in scenario.world.store.conversations(scenario.agent.id)
        if window.start.timestamp() <= each.created_at < window.end.timestamp()
    }


def delta(clockwork: Clockwork, seed: int) -> None:
    """Delta tables have each conversation of the window and each of its messages once."""
    count = random.Random(f"delta {seed}").choice([0, 1, 25, 60])
    switches = {"conversations": count, "odd_data": True, "months": 1}
    scenario = Scenario(seed, clockwork, switches, wrong_pages=True)
    window = draw_window(scenario)
    settings = ExportSettings(
        kind="conversations", agent_id=scenario.agent.id, window=window, concurrency=4, attempt="attempt"
    )
    look = DeltaSettings(remove_missing=scenario.random.random() < 0.4)
    gone: dict[str, list[str]] = {}

    def work(process: Process) -> Any:
        connection = scenario.connection(process)

        async def client() -> AsyncChatbaseClient:
            return AsyncChatbaseClient(connection)

        return export(client, DeltaTarget(storage, settings, look), settings)

    with TemporaryDirectory() as folder:
        storage = find_storage(f"file://{folder}/lake")
        if scenario.random.random() < 0.6:
            scenario.try_calmly(work)
            gone = _delete_some(scenario, window)
            scenario.before_try = lambda number: _let_some_go_on(scenario, window)
        scenario.try_until_through(work)
        assert read_watermark(storage, "conversations") == window.end
        conversations, messages = (
            _delta_rows(f"{folder}/lake/{name}") for name in ("conversations", "messages")
        )
    scenario.require_sound()
    truth = _truth(scenario, window)
    if not look.remove_missing:
        truth |= gone
    assert sorted(row["conversation_id"] for row in conversations) == sorted(truth)
    there = Counter((row["conversation_id"], row["message_id"]) for row in messages)
    wanted = Counter((name, each) for name, ids in truth.items() for each in ids)
    assert there == wanted, "messages are missing, or twice"


def _delete_some(scenario: Scenario, window: Window) -> dict[str, list[str]]:
    """Delete some conversations at Chatbase; return them."""
    rng, truth = scenario.random, _truth(scenario, window)
    gone = {name: truth[name] for name in rng.sample(sorted(truth), rng.randint(0, min(3, len(truth))))}
    for each in scenario.world.store.conversations(scenario.agent.id):
        if each.id in gone:
            scenario.agent.conversations.remove(each)
    return gone


def _let_some_go_on(scenario: Scenario, window: Window) -> None:
    """Let some conversations go on while tries come and go, and those before may still be at work."""
    scenario.clockwork.let_pass(2.0)  # states are told apart by whole seconds
    there = [
        each
        for each in scenario.world.store.conversations(scenario.agent.id)
        if window.holds(each.created_at)
    ]
    for each in scenario.random.sample(there, min(2, len(there))):
        add_message(scenario.world, scenario.agent, each, "user", "And?", EPOCH + scenario.clockwork.now)


def pass_points_at_commits() -> None:
    """Let processes be killed, frozen and overtaken before and after each commit to a Delta table."""

    def passing(commit: Callable[..., Any]) -> Callable[..., Any]:
        def with_points(*given: Any) -> Any:
            running().point()
            sleep(0.2)
            done = commit(*given)
            running().point()
            return done

        return with_points

    for name in ("append", "change", "touch"):
        setattr(CurrentTable, name, passing(getattr(CurrentTable, name)))


def _delta_rows(path: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = DeltaTable(path).to_pyarrow_table().to_pylist()
    return rows


def _require_whole(scenario: Scenario, what: str) -> None:
    """At every moment a manifest names only files that are there."""
    objects = scenario.store.objects
    for name in [name for name in objects if "/_manifests/" in name]:
        for file in json.loads(objects[name][0])["files"]:
            if f"bucket/out/{file['path']}" not in objects:
                scenario.broken.append(f"after {what}, {name} names {file['path']}, which is not there")


def exported_objects(scenario: Scenario, manifests: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return what the files of an export hold."""
    objects = scenario.store.objects
    found = []
    for name in manifests:
        for file in json.loads(objects[f"bucket/out/{name}"][0])["files"]:
            path = f"bucket/out/{file['path']}"
            assert path in objects, f"{name} names {file['path']}, which is not there"
            found += [json.loads(line) for line in objects[path][0].splitlines()]
    return found


def sync(clockwork: Clockwork, seed: int) -> None:
    """A sync ends with what is declared, loses nothing on its way, and leaves others alone."""
    scenario = Scenario(seed, clockwork)
    rng, agent = scenario.random, scenario.agent
    foreign = {each.id: each.content for each in agent.sources.values()}
    for number in range(rng.randint(0, 3)):
        other = add_source(
            scenario.world, agent, "text", f"other:page{number} #0123456789ab", "of another sync"
        )
        foreign[other.id] = other.content
    before = {f"page{number}": f"old {number}" for number in range(rng.randint(0, 8))}
    kept = {name: text for name, text in before.items() if rng.random() < 0.5}
    after = {name: rng.choice([text, f"new {text}"]) for name, text in kept.items()}
    after |= {f"new{number}": f"text {number}" for number in range(rng.randint(1, 8))}

    def syncs(declared: dict[str, str]) -> Callable[[Process], Any]:
        def work(process: Process) -> Any:
            records = [{"name": name, "content": text} for name, text in declared.items()]
            options = SyncOptions("docs", prune=True, max_deletes=1000, allow_empty=True)
            with ChatbaseClient(scenario.connection(process)) as client:
                report = SourceSync(client, agent.id, options).apply(read_records(records))
            if report.outcome.failed or report.outcome.stopped:
                raise ChatbaseError(f"not all was written: {report.outcome.failed}")
            return report

        return work

    scenario.try_until_through(syncs(before), at_once=0.0)
    least = min(len(before), len(after))

    def look(sender: Process, request: ReceivedRequest) -> None:
        ours = {key for key, _ in _ours(scenario)}
        if len(ours) < least:
            scenario.broken.append(f"{sender.name} leaves {len(ours)} of {least} after {request.operation}")

    scenario.network.after_work.append(look)
    scenario.try_until_through(syncs(after))
    if clockwork.notes.get("late"):  # a source that comes when all syncs are over is seen by the next one
        clockwork.let_pass(LATEST)
        scenario.try_calmly(syncs(after))
    scenario.require_sound()
    found = _ours(scenario)
    assert sorted(found) == sorted(after.items()), f"{sorted(found)} is not {sorted(after.items())}"
    left = {each.id: each.content for each in agent.sources.values() if each.id in foreign}
    assert left == foreign, "a source of somebody else was touched"


def _ours(scenario: Scenario) -> list[tuple[str, str]]:
    """Return the name and text of what the sync made."""
    sources = [each for each in scenario.agent.sources.values() if each.purge_at is None]
    mine = [each for each in sources if each.name.startswith("docs:")]
    return [(each.name.removeprefix("docs:").rsplit(" #", 1)[0], each.content) for each in mine]


CASES: dict[str, Callable[[Clockwork, int], None]] = {
    "batch": batch,
    "batch_v1": batch_v1,
    "message": message,
    "export": exported,
    "delta": delta,
    "sync": sync,
    "templates": templates,
    "contacts": contacts,
}

__all__ = ["CASES", "timedelta"]
