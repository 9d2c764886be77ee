"""What Airflow expects of every operator, sensor, trigger and example, ours of today and of tomorrow."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from reference_pages import KEPT_AS

import airflow_provider_chatbase
from airflow_provider_chatbase.get_provider_info import get_provider_info

CHECKOUT = Path(__file__).parents[1]
EXAMPLES = sorted((CHECKOUT / "example_dags").glob("*.py"))
OPTIONAL = {"deltalake", "h11", "jsonschema", "pyarrow", "pytest", "wtforms", "zstandard"}


def classes(kind: str) -> list[type]:
    modules = [name for entry in get_provider_info()[kind] for name in entry["python-modules"]]
    return [
        value
        for name in modules
        for value in vars(importlib.import_module(name)).values()
        if isinstance(value, type) and value.__module__ == name and hasattr(value, "execute")
    ]


TASKS = [*classes("operators"), *classes("sensors")]


def constructors(task: type) -> list[type]:
    """Return the classes of ours whose constructors make a task of this class."""
    return [
        each
        for each in task.__mro__
        if each.__module__.startswith("airflow_provider_chatbase") and "__init__" in vars(each)
    ]


def parameters(task: type) -> dict[str, inspect.Parameter]:
    """Return the parameters of our constructors, with those that they pass on to one another."""
    found: dict[str, inspect.Parameter] = {}
    for each in reversed(constructors(task)):
        signature = inspect.signature(inspect.unwrap(each.__init__))
        found.update({p.name: p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY})
    return found


def source_of(task: type) -> ast.FunctionDef:
    module = ast.parse(Path(inspect.getsourcefile(task)).read_text(encoding="utf-8"))
    [found] = [n for n in ast.walk(module) if isinstance(n, ast.ClassDef) and n.name == task.__name__]
    [init] = [n for n in found.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    return init


def test_there_are_tasks_to_look_at():
    assert {"ChatbaseSendMessageOperator", "ChatbaseTrainingSensor"} <= {task.__name__ for task in TASKS}


def _only_assigns(statement: ast.stmt) -> bool:
    """Whether a statement puts a name or a constant on self, or calls the constructor of the parent."""
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        on_self = all(isinstance(t, ast.Attribute) and ast.unparse(t.value) == "self" for t in targets)
        return on_self and isinstance(statement.value, ast.Name | ast.Constant)
    return isinstance(statement, ast.Expr) and ast.unparse(statement).startswith("super().__init__(")


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_a_constructor_only_assigns(task):
    """Templates and mapped arguments have their values later; what is checked here is not what is run."""
    for each in constructors(task):
        odd = [ast.unparse(s) for s in source_of(each).body if not _only_assigns(s)]
        assert odd == [], each.__name__


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_our_arguments_are_given_by_name(task):
    for each in constructors(task):
        signature = inspect.signature(inspect.unwrap(each.__init__))
        kinds = {p.kind for name, p in signature.parameters.items() if name != "self"}
        assert kinds <= {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}


def build(task: type, **arguments):
    required = {n: "x" for n, p in parameters(task).items() if p.default is p.empty}
    return task(task_id="task", **{**required, **arguments})


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_template_fields_are_arguments_that_are_kept_under_their_names(task):
    built = build(task)
    for field in task.template_fields:
        assert KEPT_AS.get(field, field) in parameters(task), field
        assert hasattr(built, field), field


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_ids_paths_and_texts_are_templates(task):
    ids = {name for name in parameters(task) if name.endswith(("_id", "_ids", "_path"))} | {"message"}
    documented = {name for name in ids if f":param {name}:" in (inspect.getdoc(task) or "")}
    assert documented <= set(task.template_fields)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_a_template_is_kept_as_it_is_until_the_task_runs(task):
    template = "{{ params.x }}"
    for field in task.template_fields:
        assert getattr(build(task, **{KEPT_AS.get(field, field): template}), field) == template


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_every_argument_is_documented(task):
    documents = "".join(inspect.getdoc(each) or "" for each in task.__mro__ if each.__doc__)
    missing = [name for name in parameters(task) if f":param {name}:" not in documents]
    assert missing == []


def test_every_module_imports_without_a_warning_about_what_is_deprecated():
    names = [
        m.name
        for m in pkgutil.walk_packages(airflow_provider_chatbase.__path__, "airflow_provider_chatbase.")
    ]
    code = (
        "import importlib, sys, warnings\n"
        "warnings.filterwarnings('error', category=DeprecationWarning, module='airflow_provider_chatbase')\n"
        f"for name in {[name for name in names if not name.endswith('__main__')]!r}:\n"
        "    try: importlib.import_module(name)\n"
        "    except ModuleNotFoundError as error:\n"
        f"        if error.name not in {sorted(OPTIONAL)!r}: raise\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


PARSE = '''
import copy, json, socket, sys
from pathlib import Path

def refuse(*_, **__):
    raise AssertionError("a DAG file went to the network while it was parsed")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models.dagbag import DagBag

def triggered(dag):
    """Fill in the trigger form as it stands, and validate what it posts, with nothing in optional fields."""
    schemas = {name: dag.params.get_param(name).schema for name in dag.params}
    required = [name for name, schema in schemas.items() if "null" not in schema["type"]]
    for nothing in (None, ""):
        posted = {name: dag.params[name] if name in required else nothing for name in schemas}
        params = copy.deepcopy(dag.params)
        params.update(posted)
        params.validate()
    return [name for name in required if dag.params[name] in (None, "")]

found = {}
for path in sys.argv[1:]:
    bag = DagBag(dag_folder=path)
    found[path] = {"dags": sorted(bag.dags), "errors": list(bag.import_errors.values())}
    found[path]["missing"] = [name for dag in bag.dags.values() for name in triggered(dag)]
ours = {"airflow_provider_chatbase.client.client", "airflow_provider_chatbase.simulator"}
heavy = sorted((ours | {"pandas", "pyarrow"}) & set(sys.modules))
print("\\n" + json.dumps({"found": found, "heavy": heavy}))
'''


@pytest.fixture(scope="module")
def parsed(airflow_db):
    """Parse the examples in a process without a network, as the DAG processor does again and again."""
    done = subprocess.run(
        [sys.executable, "-c", PARSE, *map(str, EXAMPLES)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_parsed_without_errors_and_without_a_network(parsed, path):
    found = parsed["found"][str(path)]
    assert found["errors"] == []
    assert found["dags"] == [path.stem], "a DAG is named after its file"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_can_be_triggered_from_its_form_as_it_stands(parsed, path):
    """Airflow takes a parameter that does not allow null for required: the button stays grey without it."""
    assert parsed["found"][str(path)]["missing"] == []


def test_parsing_loads_nothing_heavy(parsed):
    assert parsed["heavy"] == []
