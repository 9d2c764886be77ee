"""The fenced blocks of a page, and what is checked of those that are not Python."""

from __future__ import annotations

import configparser
import functools
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from packaging.requirements import Requirement

CHECKOUT = Path(__file__).parents[2]
PACKAGE = "airflow-provider-chatbase"
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL
)
PLACES = re.compile(r"(?:s3|gs|abfs)://(?:[\w-]+@)?my-bucket|(?:file://)?/tmp/chatbase")
"""Where the pages write to, and find what they read; the tests put a folder of their own there."""

NOT_CODE = frozenset({"", "text", "csv", "markdown", "dockerfile"})
SHELLS = frozenset({"shell", "bash"})
PLAIN_COMMANDS = frozenset({"cat", "cd", "cp", "echo", "git", "ls", "mkdir", "pytest", "source"})


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, and what else its info string says."""

    place: str
    language: str
    said: dict[str, str]
    code: str

    def in_folder(self, folder: Path) -> str:
        """Return the code, with the folder in place of the bucket that it names, and no way out of it."""
        code, uri = PLACES.sub("", self.code), folder.as_uri()
        outside = re.findall(r"(?:s3|gs|abfs)://\S+|/tmp/\S+", code)
        assert not outside, f"{outside} is no place that the tests have: write my-bucket or /tmp/chatbase"
        return PLACES.sub(lambda found: uri if "://" in found[0] else str(folder), self.code)


def pages() -> list[Path]:
    """Return every page whose code is to be true."""
    return [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]


def blocks_of(page: Path) -> Iterator[Block]:
    """Read a page's blocks in their order."""
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        language, *words = shlex.split(match["info"]) or [""]
        said = dict(word.split("=", 1) for word in words)
        indent = match["indent"]
        lines = match["code"].splitlines(keepends=True)
        code = "".join(line.removeprefix(indent) for line in lines)
        line = text.count("\n", 0, match.start()) + 1
        yield Block(f"{page.relative_to(CHECKOUT)}:{line}", language, said, code)


def check_text(block: Block) -> None:
    """Parse what is data, and look up what is a command."""
    match block.language:
        case language if language in SHELLS:
            for command in commands(block.code):
                check_command(command)
        case "json":
            json.loads(block.code)
        case "yaml":
            list(yaml.safe_load_all(block.code))
        case "toml":
            tomllib.loads(block.code)
        case "ini":
            configparser.ConfigParser(interpolation=None).read_string(block.code)
        case language:
            assert language in NOT_CODE, f"nothing checks {language!r}"


def commands(code: str) -> Iterator[list[str]]:
    """Split a block into commands, without comments and what they are piped into."""
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = next((i for i, word in enumerate(words) if word in ("|", "&&", ";", ">", "&")), len(words))
            yield words[:end]
            words = words[end + 1 :] if end < len(words) and words[end] in ("&&", ";") else []


def check_command(words: list[str]) -> None:
    """Say no to a program, an option or an extra that there is not."""
    if words and words[0] == "export":
        words = words[1:]
    while words and re.match(r"[A-Za-z_]\w*=", words[0]):
        check_variable(*words[0].split("=", 1))
        words = words[1:]
    match words:
        case []:
            return
        case ["airflow", *arguments]:
            from airflow.cli.cli_parser import get_parser

            get_parser().parse_args(arguments)
        case ["pip", "install", *wanted]:
            for each in wanted:
                if not each.startswith("-") and "/" not in each:
                    check_requirement(
                        Requirement(each.replace(".[", f"{PACKAGE}[") if each[0] == "." else each)
                    )
        case ["python" | "python3", "-m", module, *arguments]:
            check_options(help_of(module), arguments)
        case ["python", script, *arguments] if (CHECKOUT / script).is_file():
            check_options((CHECKOUT / script).read_text(encoding="utf-8"), arguments)
        case ["scripts/demo", *arguments]:
            check_options(help_of("quickstart_demo"), arguments)
        case [script, *arguments] if script.startswith(("scripts/", ".ci/")):
            check_options((CHECKOUT / script).read_text(encoding="utf-8"), arguments)
        case [program, *_]:
            assert program in PLAIN_COMMANDS, f"nothing checks {program!r}"


def check_options(told: str, arguments: list[str]) -> None:
    """Look for each option in what a program tells of itself."""
    options = [each.split("=")[0] for each in arguments if each.startswith("--")]
    unknown = [each for each in options if not re.search(rf"(?<![\w-]){re.escape(each)}(?![\w-])", told)]
    assert not unknown, f"there is no option {unknown}"


@functools.lru_cache
def help_of(module: str) -> str:
    """Ask a program for its help."""
    command = [sys.executable, "-m", module, "--help"]
    folders = {"PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'scripts'}"}
    asked = subprocess.run(command, env={**folders, "COLUMNS": "200"}, capture_output=True, text=True)
    assert "usage" in asked.stdout, asked.stderr
    return asked.stdout


def check_requirement(requirement: Requirement) -> None:
    """Look up the extras that a page tells to install."""
    if requirement.name == PACKAGE:
        project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        unknown = requirement.extras - set(project["optional-dependencies"])
        assert not unknown, f"there is no extra {unknown}"


def check_variable(name: str, value: str) -> None:
    """Read a connection as Airflow does, and look up a setting of ours."""
    if name.startswith("AIRFLOW_CONN_"):
        from airflow.models.connection import Connection

        from airflow_provider_chatbase.hooks.connection import read_connection

        found = Connection.from_json(value) if value.startswith("{") else Connection(uri=value)
        if found.conn_type == "chatbase":
            read_connection(found)
    if name.startswith("AIRFLOW__CHATBASE__"):
        from airflow_provider_chatbase.get_provider_info import get_provider_info

        option = name.removeprefix("AIRFLOW__CHATBASE__").lower()
        assert option in get_provider_info()["config"]["chatbase"]["options"]
