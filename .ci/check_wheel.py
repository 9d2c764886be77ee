"""
Check a built wheel against the rules of the registries of Airflow providers: ``check_wheel.py WHEEL SDIST``.

Nothing is installed: what Airflow and a registry read of a wheel is read here, too. How it imports, and that
nothing is asked of the network then, is checked by ``check_installed.py`` where it is installed.
"""

# ruff: noqa: S101, T201 - a check that prints what it saw
from __future__ import annotations

import ast
import configparser
import email.message
import email.parser
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from typing import Any

PACKAGE = "airflow_provider_chatbase"
CLASSIFIERS = {
    "Framework :: Apache Airflow",
    "Framework :: Apache Airflow :: Provider",
    "Intended Audience :: Developers",
    "Typing :: Typed",
}
SECTIONS = {
    "what it is for": r"Chatbase \(?\[?chatbase\.co|\[Chatbase\]\(https://www\.chatbase\.co",
    "how to install it": r"pip install .*(airflow-provider-chatbase|\.\[)",
    "how to connect it": r"chatbase_default",
    "which operators and sensors it has": r"ChatbaseSendMessageOperator(.|\n)*ChatbaseTrainingSensor",
    "which Airflows it was tested on": r"3\.0\.6(.|\n)*3\.3\.2",
    "how to contribute": r"CONTRIBUTING\.md",
}
"""What the readme tells, and how that is seen."""
KINDS = {"hooks": "Hook", "operators": "Operator", "sensors": "Sensor", "triggers": "Trigger"}
WITHOUT_PARAMS = {"self", "args", "kwargs", "context"}


class Wheel:
    """A wheel, opened but not installed."""

    def __init__(self, path: str) -> None:
        self._files = zipfile.ZipFile(path)
        self.names = set(self._files.namelist())
        self.version = path.rpartition("/")[2].split("-")[1]
        self.info = f"{PACKAGE}-{self.version}.dist-info"
        self.metadata: email.message.Message = email.parser.Parser().parsestr(
            self.text(f"{self.info}/METADATA")
        )

    def text(self, name: str) -> str:
        """Return a file's content."""
        return self._files.read(name).decode()

    def classes_of(self, module: str) -> dict[str, ast.ClassDef]:
        """Return the classes that a module defines."""
        tree = ast.parse(self.text(f"{module.replace('.', '/')}.py"))
        return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}

    def holds(self, path: str) -> bool:
        """Say whether a dotted path leads to a class, a function or a value of the package."""
        module, _, name = path.rpartition(".")
        file = f"{module.replace('.', '/')}.py"
        return (
            file in self.names
            and re.search(rf"^(class|def) {name}\b|^{name}\b", self.text(file), re.MULTILINE) is not None
        )

    def provider_info(self) -> dict[str, Any]:
        """Return what the entry point says; reading it needs nothing but Python."""
        entry_points = configparser.ConfigParser()
        entry_points.read_string(self.text(f"{self.info}/entry_points.txt"))
        module, _, function = entry_points["apache_airflow_provider"]["provider_info"].partition(":")
        sys.path.insert(0, str(self._files.filename))
        found: dict[str, Any] = getattr(__import__(module, fromlist=[function]), function)()
        return found


def check_metadata(wheel: Wheel) -> None:
    """Check names, versions, licence and classifiers."""
    about = wheel.metadata
    assert about["Name"] == "airflow-provider-chatbase", "a provider's name begins with airflow-provider-"
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", about["Version"]), "versions are semantic ones"
    assert about["License-Expression"] == "Apache-2.0"
    assert f"{wheel.info}/licenses/LICENSE" in wheel.names, "the licence's text is not in the wheel"
    assert about["Requires-Python"] == ">=3.11"
    missing = CLASSIFIERS - set(about.get_all("Classifier", []))
    assert not missing, f"classifiers: {missing}"
    required = [each for each in about.get_all("Requires-Dist", []) if "extra ==" not in each]
    assert any(re.match(r"apache-airflow>=3\.", each) for each in required), "it depends on Airflow"
    assert [each for each in required if re.search(r"<|==|~=", each)] == [], (
        "an upper bound breaks constraints"
    )
    assert f"{PACKAGE}/py.typed" in wheel.names
    assert {name.split("/")[0] for name in wheel.names} == {PACKAGE, wheel.info}, "tests do not belong here"


def check_readme(wheel: Wheel) -> None:
    """Check that the page of a registry, which is the readme, tells what it has to."""
    assert wheel.metadata["Description-Content-Type"] == "text/markdown"
    told = wheel.metadata.get_payload()
    assert isinstance(told, str)
    missing = [what for what, seen in SECTIONS.items() if not re.search(seen, told)]
    assert not missing, f"the readme does not tell {missing}"


def check_provider_info(wheel: Wheel) -> None:
    """Check that all that Airflow and a registry are told of is there."""
    info = wheel.provider_info()
    assert info["package-name"] == wheel.metadata["Name"]
    listed = {kind: {name for entry in info[kind] for name in entry["python-modules"]} for kind in KINDS}
    for kind, modules in listed.items():
        in_wheel = {
            name.removesuffix(".py").replace("/", ".")
            for name in wheel.names
            if re.fullmatch(rf"{PACKAGE}/{kind}/[a-z]\w*\.py", name)
        }
        public = {name for name in in_wheel if _for_users(wheel, name, KINDS[kind])}
        assert modules <= in_wheel, f"{kind}: {modules - in_wheel} is not in the wheel"
        assert public - modules <= {f"{PACKAGE}.hooks.connection", f"{PACKAGE}.operators.export_base"}
    paths = [each["hook-class-name"] for each in info["connection-types"]] + info["extra-links"]
    paths += [each["class-name"] for each in info["task-decorators"]]
    assert [path for path in paths if not wheel.holds(path)] == []
    [connection] = info["connection-types"]
    assert connection["connection-type"] == "chatbase"
    assert connection["conn-fields"]


def check_docstrings(wheel: Wheel) -> None:
    """Check that each class for users says what it is, and what each argument of its own is."""
    silent = []
    info = wheel.provider_info()
    for kind, ending in KINDS.items():
        for entry in info[kind]:
            for module in entry["python-modules"]:
                for found in _for_users(wheel, module, ending):
                    silent += [f"{module}.{found.name}: {name}" for name in _untold(found)]
    assert not silent, "without a word in the docstring: " + ", ".join(silent)


def _for_users(wheel: Wheel, module: str, ending: str) -> list[ast.ClassDef]:
    return [
        node for name, node in wheel.classes_of(module).items() if re.fullmatch(rf"Chatbase\w+{ending}", name)
    ]


def _untold(found: ast.ClassDef) -> Iterator[str]:
    said = ast.get_docstring(found) or ""
    if not said:
        yield "(the class)"
    for function in found.body:
        if isinstance(function, ast.FunctionDef) and function.name == "__init__":
            arguments = [*function.args.args, *function.args.kwonlyargs]
            told = set(re.findall(r":param (\w+):", said + (ast.get_docstring(function) or "")))
            yield from (each.arg for each in arguments if each.arg not in told | WITHOUT_PARAMS)


def check_source(path: str, version: str) -> None:
    """Check that the source has examples, tests, what its readme leads to, and a changelog of the version."""
    with tarfile.open(path) as source:
        names = [name.partition("/")[2] for name in source.getnames()]
        told, readme = (
            source.extractfile(f"{source.getnames()[0].split('/')[0]}/{name}").read().decode()  # type: ignore[union-attr]
            for name in ("CHANGELOG.md", "README.md")
        )
    links = set(re.findall(r"\]\((?!https?:)([^)#]+)", readme))
    astray = {link for link in links if not any(f"{name}/".startswith(f"{link}/") for name in names)}
    assert not astray, f"the readme leads to what is not in the source: {astray}"
    assert sum(name.startswith("example_dags/") for name in names) >= 5, (
        "a provider shows its operators in DAGs"
    )
    assert any(name.startswith("tests/") for name in names)
    headings = re.findall(r"^## \[(\S+)\](?: - (\d{4}-\d\d-\d\d))?$", told, re.MULTILINE)
    assert headings, "the changelog has no entry"
    assert (headings[0][0] == "Unreleased") or headings[0][0] == version, (
        f"the changelog does not know {version}"
    )
    assert re.search(rf"^## \[{re.escape(headings[0][0])}\].*\n+(### |- )", told, re.MULTILINE), (
        "an empty entry"
    )


if __name__ == "__main__":
    built = Wheel(sys.argv[1])
    check_metadata(built)
    check_readme(built)
    check_provider_info(built)
    check_docstrings(built)
    check_source(sys.argv[2], built.version)
    print(f"{sys.argv[1].rpartition('/')[2]} keeps the rules of the registries")
