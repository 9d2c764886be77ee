"""``python -m quickstart_demo``; see scripts/demo."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import NoReturn

from quickstart_demo.demo import Demo
from quickstart_demo.errors import DemoError
from quickstart_demo.options import parse
from quickstart_demo.screen import Screen


def main(checkout: Path, arguments: list[str]) -> int:
    """Run the demo in ``.demo`` of the checkout, made anew, and return the exit code."""
    options = parse(arguments)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _exit)
    folder = checkout / ".demo"
    shutil.rmtree(folder, ignore_errors=True)
    setup_seconds = float(os.environ.get("DEMO_SETUP_SECONDS", 0))
    with Screen() as screen:
        try:
            demo = Demo(folder, checkout / "example_dags" / "chatbase_quickstart.py", screen, setup_seconds)
            demo.picture = options.picture and Path(options.picture).absolute()
            demo.run(os.environ, live=options.live, sure=options.yes, stay=options.stay)
        except DemoError as error:
            screen.failed(str(error))
            return 1
        except KeyboardInterrupt:
            screen.failed("Interrupted; everything that was started is stopped.")
            return 128 + signal.SIGINT
    return 0


def _exit(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


sys.exit(main(Path(__file__).parents[2], sys.argv[1:]))
