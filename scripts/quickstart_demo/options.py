"""The command line of scripts/demo; it can be read before anything is installed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

HELP_WAS_ASKED_FOR = 3
_ABOUT = """
Set up from nothing and show the example DAG at work in real Airflow.

It runs against a simulator on this machine, whatever the environment says, loses a reply and kills the export
on the way, and shows by the simulator's books what came of it. With --live it runs against the
agent that the environment names: it shows the agent and asks; the DAG then replaces the agent's instructions,
adds a text to its sources, waits until it is trained, asks one question (which costs the credits of one
answer) and exports the conversations into .demo/. In the end, also after Ctrl-C, the instructions are put
back and the text is deleted.
"""
_ENVIRONMENT = """
environment, for --live:
  CHATBASE_API_KEY    the API key
  CHATBASE_AGENT_ID   the agent to change and ask: take one that no customer talks to
  CHATBASE_BASE_URL   if it is not Chatbase's own
"""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; ends the program with a sentence where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description=_ABOUT,
        epilog=_ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--live", action="store_true", help="run against the real agent; asks first")
    parser.add_argument("--yes", action="store_true", help="do not ask, where there is nobody to answer")
    parser.add_argument("--stay", action="store_true", help="leave Airflow and its page up until Ctrl-C")
    parser.add_argument("--picture", metavar="FILE", help="write the last table to an SVG file, too")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        parse(sys.argv[1:])
    except SystemExit as end:
        sys.exit(end.code or HELP_WAS_ASKED_FOR)
