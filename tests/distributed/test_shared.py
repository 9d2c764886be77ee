"""What machines share: a rate limit, a storage, a triggerer, the examples."""

from __future__ import annotations

import time
from pathlib import Path

from cluster import Cluster, side_by_side
from gate import Gate
from paid_work import PROMPTS, PaidWork

from airflow_provider_chatbase.simulator import Simulator
from airflow_provider_chatbase.simulator.agents import add_source

EXAMPLES = Path(__file__).parents[2] / "example_dags"
WAITS = 50
LIMIT, WINDOW = 50, 10.0
SECONDS_AWAY = 8


@side_by_side
def test_two_machines_with_one_key(cluster: Cluster) -> str:
    """Two batches share what the key may do, though neither machine knows of the other."""
    with Simulator(rate_limit=LIMIT, rate_window=WINDOW, conversations=0, latency={"*": 0.05}) as simulator:
        cluster.connect("one_key", simulator)
        run = cluster.trigger("one_key")
        tasks = run.wait()
        assert {each["state"] for each in tasks} == {"success"}
        assert {each["hostname"] for each in tasks} == {"ant", "bee"}
        asked = simulator.requests_for("chatWithAgent")
        answered = [each.at for each in asked if each.status == 200]
        refused = sum(each.status == 429 for each in simulator.requests)
        assert simulator.prompts_charged == len(answered) == 2 * 2 * PROMPTS
        ideal = (len(simulator.requests) - refused - LIMIT) / LIMIT * WINDOW
        took = max(answered) - simulator.requests[0].at
        assert took < 2 * ideal + WINDOW, (took, ideal)
        assert refused < 0.1 * len(answered), refused
        return f"{len(answered)} answers in {took:.0f} s, ideal {ideal:.0f} s, {refused} times 429"


@side_by_side
def test_the_storage_is_away(cluster: Cluster) -> str:
    """Its storage is away in the middle of a batch, and comes back."""
    with Gate(cluster.s3_url) as gate, PaidWork(cluster, "away") as work:
        cluster.connect_s3("s3_away", gate.url)
        cluster.ant.listen("away")
        run = work.start()
        work.wait_for_the_middle(["batch"])
        gate.shut()
        time.sleep(SECONDS_AWAY)  # that is the case
        gate.open()
        work.hurry()
        return work.require_all_done(run)


@side_by_side
def test_two_machines_with_one_name(cluster: Cluster) -> str:
    """Two exports into one output at once, as pods of one node in Kubernetes, on a slow storage."""
    with Gate(cluster.s3_url, delay=0.3) as gate, PaidWork(cluster, "twins") as work:
        cluster.connect_s3("s3_twins", gate.url)
        for name in ("fox", "gnu"):
            cluster.machine(name, host_name="twin")
        run = work.start()
        cluster.wait(lambda: work.requests()["export"] >= 1)
        work.hurry()
        return work.require_all_done(run)


@side_by_side
def test_a_triggerer_dies(cluster: Cluster) -> str:
    """Many tasks wait for training in it; the next one lets all of them go on."""
    with Simulator(conversations=0, training_seconds=3600.0) as simulator:
        agent = simulator.store.agents[simulator.agent_id]
        source = simulator.run(lambda: add_source(simulator._world, agent, "text", "Training", "Text."))
        cluster.connect("waits", simulator)
        cluster.ant.listen("waits")
        cluster.bee.listen("waits")
        run = cluster.trigger("waits", source=source.id)
        cluster.wait(lambda: run.count("deferred") == WAITS, lambda: run.count("deferred"))
        cluster.kill_triggerer()
        simulator.advance(3600)
        cluster.start_triggerer()
        run.wait()
        assert run.count("success") == WAITS
        return f"{WAITS} waits ended"


@side_by_side
def test_the_examples(cluster: Cluster) -> str:
    """Each example, on a storage that the machines share, with the connection's id in the path."""
    names = [path.stem for path in sorted(EXAMPLES.glob("*.py"))]
    with Simulator(conversations=30) as simulator:
        cluster.connect("chatbase_default", simulator)
        cluster.ant.listen("default")
        cluster.bee.listen("default")
        cluster.wait(lambda: all(cluster.api.knows_dag(name) for name in names))
        # Those with a schedule have been started by it.
        runs = {name: (cluster.runs(name) or [cluster.trigger(name)])[0] for name in names}
        tasks = [each for run in runs.values() for each in run.wait()]
        states = {name: run.state for name, run in runs.items()}
        assert states == dict.fromkeys(names, "success"), tasks
    return f"{len(names)} examples, {len(tasks)} tasks on {sorted({each['hostname'] for each in tasks})}"
