"""``python -m tests.campaign``: run many seeds, and print what they covered; see scripts/campaign."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import random
import sys
import time
import traceback
import uuid
import warnings
from collections import Counter

if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of what a seed decides
    os.environ["PYTHONHASHSEED"] = "0"
    os.execv(sys.executable, [sys.executable, "-m", "tests.campaign", *sys.argv[1:]])

from tests.campaign import stand_ins

_began = time.perf_counter()
stand_ins.install()

from airflow_provider_chatbase.files import lock  # noqa: E402
from tests.campaign import network  # noqa: E402

network.take_over_httpx()
network.let_service_wait_in_simulated_time()

from tests.campaign.archives import erasing, tickets  # noqa: E402
from tests.campaign.cases import CASES, pass_points_at_commits  # noqa: E402
from tests.campaign.clockwork import Clockwork, Process, current_process, running, turning  # noqa: E402
from tests.campaign.mutations import mutated  # noqa: E402

pass_points_at_commits()
stand_ins.take_over("airflow_provider_chatbase")
CASES |= {"tickets": tickets, "erasing": erasing, "mutated": mutated}
LINES_OF_HISTORY = 200


def run(what: str, seed: int) -> Clockwork:
    """Run one seed of one case."""
    random.seed(f"{what} {seed}")
    uuids = random.Random(f"uuid {what} {seed}")
    uuid.uuid4 = lambda: uuid.UUID(int=uuids.getrandbits(128), version=4)
    with turning(Clockwork(f"{what} {seed}")) as clockwork:
        try:
            CASES[what](clockwork, seed)
        except BaseException as error:
            error.history = clockwork.history
            raise
    return clockwork


def _this_process() -> dict[str, object]:
    process = current_process()
    running().notes.setdefault("processes", 0)
    _known[process.pid] = process
    return {"host": process.machine, "pid": process.pid, "started": "then", "boot": "", "processes": "all"}


def _has_died(claim: dict[str, object]) -> bool:
    process = _known.get(claim.get("pid"))
    return process is not None and process.machine == current_process().machine and process.ended


_known: dict[object, Process] = {}
lock.this_process, lock.has_died = _this_process, _has_died


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/campaign", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many (default: %(default)s)")
    parser.add_argument("--first", type=int, default=1, help="the first of them (default: %(default)s)")
    parser.add_argument(
        "--what",
        type=_case_and_seeds,
        action="append",
        metavar="CASE[=SEEDS]",
        help=f"which cases ({', '.join(CASES)}), each with a number of seeds or --seeds; all without it",
    )
    parser.add_argument("--most-failures", type=int, default=1, help="stop after so many (default: 1)")
    parser.add_argument("--verbose", action="store_true", help="show the history of every seed, and the log")
    parser.add_argument(
        "--without", action="append", default=[], help="leave a trouble out, such as skew or cut"
    )
    options = parser.parse_args(arguments)
    network.SPARED.update(options.without)
    logging.disable(logging.NOTSET if options.verbose else logging.CRITICAL)
    gc.disable()
    if not options.verbose:
        sys.unraisablehook = lambda _: None  # what is left of the killed
        warnings.simplefilter("ignore")
    seeds_of = {what: seeds or options.seeds for what, seeds in options.what or [(what, 0) for what in CASES]}
    failures, covered, seconds = 0, {what: Counter[str]() for what in seeds_of}, 0.0
    for seed in range(options.first, options.first + max(seeds_of.values())):
        for what, counts in covered.items():
            if seed >= options.first + seeds_of[what]:
                continue
            _known.clear()
            try:
                clockwork = run(what, seed)
            except Exception as error:  # noqa: BLE001 - told
                failures += 1
                _tell(what, seed, error)
                if failures >= options.most_failures:
                    return 1
                continue
            if options.verbose:
                print("\n".join(clockwork.history))
            seconds += clockwork.now
            counts["seeds"] += 1
            counts.update(clockwork.notes)
        gc.collect(1)
    took = time.perf_counter() - _began
    for what, counts in covered.items():
        told = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        print(f"{what}: {told}")
    print(f"{seconds / 3600:.1f} simulated hours in {took:.1f} s; {failures} failures")
    return 1 if failures else 0


def _case_and_seeds(said: str) -> tuple[str, int]:
    """Read "export" or "export=40"."""
    what, _, seeds = said.partition("=")
    if what not in CASES:
        raise argparse.ArgumentTypeError(f"there is no case {what!r}")
    return what, int(seeds or 0)


def _tell(what: str, seed: int, error: Exception) -> None:
    print("\n".join(getattr(error, "history", [])[-LINES_OF_HISTORY:]))
    print("".join(traceback.format_exception(error, limit=-12)))
    print(f"FAILED {what} {seed}: {str(error).splitlines()[0] if str(error) else error!r}")
    took = time.perf_counter() - _began
    without = "".join(f" --without {each}" for each in sorted(network.SPARED))
    again = f"scripts/campaign --what {what} --first {seed} --seeds 1{without} --verbose"
    print(f"after {took:.1f} s; again: {again}")


if __name__ == "__main__":
    sys.exit(main())
