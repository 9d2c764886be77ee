"""Print the constraints of an Airflow without what we require ourselves, so that our lowest are taken."""

# ruff: noqa: T201 - that is what it does
from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def name_of(requirement: str) -> str:
    """Return the name of what is required."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower()


if __name__ == "__main__":
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    ours = {
        name_of(each) for each in [*project["dependencies"], *(each for extra in extras for each in extra)]
    }
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    print(*(line for line in lines if name_of(line) not in ours), sep="\n")
