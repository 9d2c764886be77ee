"""How the package is cut: arrows point down only, a name means one thing, a file holds one subject."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "airflow_provider_chatbase"
NAME = PACKAGE.name
MODULES = {
    ".".join((NAME, *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

MOST_LINES = 450
"""A file that is longer holds more than one subject, or tells it at too great a length."""

WITHOUT_AIRFLOW = ("client", "batch", "exports", "files", "sync", "simulator", "training", "watching")
OPENS_AIRFLOW_PATHS = (f"{NAME}.files.directory", f"{NAME}.files.delta_storage")
"""Where an Airflow path becomes a directory, or a place for tables, inside a function."""

ABOVE = {
    "client": ("files", "batch", "exports", "sync", "training", "hooks", "operators", "sensors", "triggers"),
    "files": ("batch", "exports", "sync", "training", "hooks", "operators", "sensors", "triggers"),
    "batch": ("exports", "sync", "hooks", "operators", "sensors", "triggers", "decorators"),
    "exports": ("batch", "sync", "hooks", "operators", "sensors", "triggers", "decorators"),
    "sync": ("batch", "exports", "hooks", "operators", "sensors", "triggers", "decorators"),
    "hooks": ("batch", "exports", "sync", "operators", "sensors", "triggers", "decorators"),
    "simulator": ("client", "files", "batch", "exports", "sync", "hooks", "operators"),
}
"""Which layers a layer must not know."""


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def layer(module: str) -> str:
    return module.removeprefix(f"{NAME}.").split(".")[0]


@pytest.mark.parametrize("module", [m for m in MODULES if layer(m) in WITHOUT_AIRFLOW])
def test_the_work_itself_does_not_know_airflow(module):
    known = {name for name in imports(MODULES[module]) if name.split(".")[0] == "airflow"}
    assert known == set() or module in OPENS_AIRFLOW_PATHS


@pytest.mark.parametrize("module", [m for m in MODULES if layer(m) in ABOVE])
def test_arrows_point_down(module):
    above = tuple(f"{NAME}.{name}" for name in ABOVE[layer(module)])
    assert [name for name in imports(MODULES[module]) if name.startswith(above)] == []


def test_only_the_transport_knows_the_http_library():
    knowing = {m for m in MODULES if {"httpx", "httpx2"} & set(imports(MODULES[m]))}
    assert knowing == {f"{NAME}.client.transport"}


def test_a_name_means_one_thing():
    places: dict[str, list[str]] = defaultdict(list)
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(module)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


@pytest.mark.parametrize("module", MODULES)
def test_a_file_is_not_too_long(module):
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= MOST_LINES
