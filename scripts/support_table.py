"""Write docs/versions.md, what works where, from the outcome of the tests.

Each report is named after its run, such as "airflow-3.3.2-python-3.11.xml". With --check nothing is written,
and what the page says differently is an error.
"""

# ruff: noqa: T201, S314 - a script; the files are our own tests'
from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

PAGE = Path(__file__).parents[1] / "docs" / "versions.md"

FEATURES = {
    "Operators and `@task` decorators": ("tests.operators.", "tests.decorators."),
    "Sensor and trigger, on a worker and in the triggerer": ("tests.sensors.", "tests.triggers."),
    "Exports, Delta tables, batches, syncs": ("tests.exports.", "tests.batch.", "tests.sync."),
    "The example DAGs": ("tests.test_conventions", "tests.test_dags"),
    "Scheduler, workers, triggerer and metrics of a real Airflow": ("tests.system.test_quickstart",),
    "Asset watcher: a DAG starts when a conversation changes": ("tests.system.test_watched",),
    "Webhook receiver in the API server": ("tests.system.test_webhook",),
    "Fields of the connection's form": ("tests.test_provider_metadata::test_the_form",),
    "Managed agent for `common.ai`": ("tests.hooks.test_managed_agent",),
    "Human in the loop": ("tests.system.test_people",),
    "Connection form, trigger form, links and logs in a browser": ("tests.browser.",),
    "Retry policy: waits as long as Chatbase asks": ("tests.test_retry_policy::test_the_wait",),
}
"""By what a user knows, the tests that show it: beginnings of their names in the reports."""

HEAD = """# What works where

Made by `scripts/support_table.py` from the outcome of the tests; CI fails where it is not true. "Yes": its
tests pass there. "No": this Airflow lacks what it needs. "Not run": CI leaves these tests out there.

"""


class Run:
    """The outcome of one run of the tests."""

    def __init__(self, report: Path) -> None:
        name = re.fullmatch(r"airflow-(.+)-python-(.+)", report.stem)
        if name is None:
            raise SystemExit(f"{report}: its name does not say which Airflow and Python it is of.")
        self.title = f"Airflow {name[1]}, Python {name[2]}"
        self.outcomes: defaultdict[str, set[str]] = defaultdict(set)
        self.reasons: defaultdict[str, set[str]] = defaultdict(set)
        for case in ElementTree.parse(report).iter("testcase"):
            test = "::".join(filter(None, (case.get("classname"), case.get("name"))))
            skipped = case.find("skipped")
            failed = case.find("failure") is not None or case.find("error") is not None
            outcome = "failed" if failed else "passed" if skipped is None else "skipped"
            for feature, beginnings in FEATURES.items():
                if test.startswith(beginnings):
                    self.outcomes[feature].add(outcome)
                    if skipped is not None:
                        self.reasons[feature].add(_reason(skipped))

    def cell(self, feature: str) -> str:
        """Say in a word whether a feature works; a single test that is skipped beside others says nothing."""
        found = self.outcomes[feature]
        if "failed" in found:
            return "fails"
        return "yes" if "passed" in found else "no" if found else "not run"


def _reason(skipped: ElementTree.Element) -> str:
    """Return why a test, or a whole file, was skipped."""
    whole_file = re.search(r"Skipped: (.*?)['\"]\)$", skipped.text or "", re.DOTALL)
    return whole_file[1] if whole_file else skipped.get("message") or "no reason given"


def page(runs: list[Run]) -> str:
    """Return the page."""
    lines = [f"| | {' | '.join(run.title for run in runs)} |", "|---|" + "---|" * len(runs)]
    lines += [f"| {feature} | {' | '.join(run.cell(feature) for run in runs)} |" for feature in FEATURES]
    reasons = {
        f"- {feature}: {reason}."
        for run in runs
        for feature in FEATURES
        if run.cell(feature) == "no"
        for reason in run.reasons[feature]
    }
    return HEAD + "\n".join([*lines, "", *sorted(reasons)]).rstrip() + "\n"


def main() -> None:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("reports", nargs="+", type=Path, metavar="JUNIT-FILE")
    arguments = parser.parse_args()
    found = page([Run(report) for report in arguments.reports])
    if not arguments.check:
        PAGE.write_text(found, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != found:
        print(found)
        sys.exit(f"{PAGE} says something else than the tests, which say what is above.")


if __name__ == "__main__":
    main()
