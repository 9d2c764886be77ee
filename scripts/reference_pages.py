"""The site's reference, made of the docstrings: arguments, defaults, templates, what is raised."""

from __future__ import annotations

import html
import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_chatbase.get_provider_info import get_provider_info

PACKAGE = "airflow_provider_chatbase"
RUNS = ("execute", "execute_complete", "poke", "hook", "run", "serialize", "evaluate", "get_link")
"""What Airflow calls of a task, a trigger and the like: what these raise is told."""

WITH_METHODS = ("ChatbaseHook", "Simulator")
TASK_NAMES = {"chatbase_task": "@task.chatbase", "chatbase_batch_task": "@task.chatbase_batch"}
NO_DEFAULT = "required"
KEPT_AS = {"only_report": "dry_run"}
"""Arguments that are kept under another name: a task's own ``dry_run`` is a method of Airflow's."""

MARKS = """
What to do about each is told in [errors](../errors.md). *Transient*: the same request may succeed a moment
later. *Ambiguous*: the work may have been done, so a write is not repeated blindly. *Permanent*: somebody has
to change something first, so the task fails without using its retries.
"""


@dataclass
class Told:
    """What a docstring tells, with its roles and double backticks turned into Markdown."""

    text: str
    arguments: dict[str, str] = field(default_factory=dict)
    raises: dict[str, str] = field(default_factory=dict)
    returns: str = ""


def told_by(documented: Any) -> Told:
    """Take a docstring apart."""
    text, *fields = re.split(
        r"^:(?=(?:param|raises|return)\b)", inspect.getdoc(documented) or "", flags=re.MULTILINE
    )
    told = Told(markdown(text.strip()))
    for each in fields:
        head, _, said = each.partition(":")
        kind, _, name = head.partition(" ")
        said = markdown(" ".join(said.split()))
        match kind:
            case "param":
                told.arguments[name] = said
            case "raises":
                told.raises[name] = said
            case _:
                told.returns = said
    return told


def markdown(text: str) -> str:
    """Write reStructuredText of a docstring as Markdown."""
    text = re.sub(r":(?:meth|class|func|mod|attr):`~?([^`]+)`", r"`\1`", text)
    return text.replace("``", "`")


def ours(cls: type) -> Iterator[type]:
    """Walk over a class and those it is made of, as far as they are the package's."""
    return (each for each in cls.__mro__ if each.__module__.startswith(PACKAGE))


def arguments_of(cls: type) -> dict[str, inspect.Parameter]:
    """Return a constructor's arguments, those of the classes below it included."""
    found: dict[str, inspect.Parameter] = {}
    for each in ours(cls):
        if "__init__" in vars(each):
            for name, parameter in inspect.signature(each.__init__).parameters.items():
                if name != "self" and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                    found.setdefault(name, parameter)
    return found or dict(inspect.signature(cls).parameters)


def argument_rows(
    arguments: Mapping[str, inspect.Parameter],
    told: Mapping[str, str],
    templates: Sequence[str] | None,
    of: str,
) -> str:
    """Write a table of arguments; one that no docstring tells of is an error."""
    silent = [name for name in arguments if name not in told]
    if silent:
        raise ValueError(f"The docstrings of {of} do not tell of {', '.join(silent)}.")
    rows, rendered = [], {KEPT_AS.get(each, each) for each in templates or ()}
    for name, parameter in arguments.items():
        cells = [f"`{name}`<br><small>{type_of(parameter)}</small>", default_of(parameter)]
        if templates is not None:
            cells.append("yes" if name in rendered else "no")
        rows.append([*cells, told[name]])
    template = ["Template"] if templates is not None else []
    return table(["Argument", "Default", *template, "What it is"], rows)


def type_of(parameter: inspect.Parameter) -> str:
    """Write an annotation as words."""
    given = "" if parameter.annotation is parameter.empty else str(parameter.annotation)
    listed = re.sub(r"Literal\[([^\]]*)\]", lambda match: match[1].replace(", ", " or "), given)
    return html.escape(listed, quote=False).replace(" | ", " or ")


def default_of(parameter: inspect.Parameter) -> str:
    """Write a default as code."""
    if parameter.default is parameter.empty:
        return NO_DEFAULT
    if type(parameter.default).__name__ == "_HAS_DEFAULT_FACTORY_CLASS":
        return "empty"
    return f"`{parameter.default!r}`"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def class_section(cls: type) -> str:
    """Tell of an operator, a sensor, a trigger and the like."""
    told, templates = told_by(cls), getattr(cls, "template_fields", None)
    arguments = arguments_of(cls)
    described = {
        name: text for each in reversed([*ours(cls)]) for name, text in told_by(each).arguments.items()
    }
    raises: dict[str, str] = {}
    for each in ours(cls):
        for name in RUNS:
            if name in vars(each):
                raises = {**told_by(vars(each)[name]).raises, **raises}
    parts = [f"## {cls.__name__}", f"`from {import_path(cls)} import {cls.__name__}`", told.text]
    if arguments:
        parts.append(argument_rows(arguments, described, templates, cls.__name__))
    if templates is not None:
        parts.append(
            "And every argument of Airflow's own base class, such as `task_id`, `retries` and `outlets`."
        )
    if raises:
        parts.append("**Raises**\n\n" + "\n".join(f"- `{name}`: {said}" for name, said in raises.items()))
    if cls.__name__ in WITH_METHODS:
        parts.extend(method_section(name, method) for name, method in methods_of(cls))
    return "\n\n".join(parts)


def import_path(documented: Any) -> str:
    """Return the module that a user imports it from."""
    module = str(documented.__module__)
    return f"{PACKAGE}.simulator" if module.startswith(f"{PACKAGE}.simulator.") else module


def methods_of(cls: type) -> list[tuple[str, Callable[..., Any]]]:
    """Return the methods that a user calls, by their names."""
    found = inspect.getmembers(cls, inspect.isfunction)
    return [
        (name, method)
        for name, method in found
        if not name.startswith("_") and method.__module__.startswith(PACKAGE) and method.__doc__
    ]


def method_section(name: str, method: Callable[..., Any]) -> str:
    """Tell of a method."""
    told, parameters = told_by(method), dict(inspect.signature(method).parameters)
    parameters.pop("self", None)
    given = ", ".join(written(each) for each in parameters.values())
    parts = [f"### {name}", f"```python\n{name}({given})\n```", told.text]
    if told.arguments:
        parts.append("\n".join(f"- `{each}`: {said}" for each, said in told.arguments.items()))
    if told.returns:
        parts.append(f"Returns {told.returns}")
    parts.extend(f"Raises `{each}`: {said}" for each, said in told.raises.items())
    return "\n\n".join(parts)


def written(parameter: inspect.Parameter) -> str:
    """Write a parameter as it stands in the code, where its annotation, a text here, has no quotes."""
    return str(parameter).replace(repr(parameter.annotation), str(parameter.annotation), 1)


def function_section(function: Callable[..., Any]) -> str:
    """Tell of a decorator."""
    told = told_by(function)
    shown = TASK_NAMES[function.__name__]
    listed = "\n".join(f"- `{name}`: {said}" for name, said in told.arguments.items())
    return "\n\n".join([f"## {shown}", told.text, listed])


def exception_sections() -> str:
    """Tell of every error, with what a caller may do about it."""
    errors = importlib.import_module(f"{PACKAGE}.exceptions")
    parts = []
    for name in errors.__all__:
        error = getattr(errors, name)
        if not isinstance(error, type) or error.__name__ != name:
            continue
        below = ", ".join(f"`{base.__name__}`" for base in error.__bases__)
        marks = [mark for mark in ("transient", "ambiguous", "permanent") if getattr(error, mark)]
        kind = f"Is a {below}. {', '.join(marks).capitalize() or 'Neither of the three'}."
        parts.append("\n\n".join([f"## {name}", kind, told_by(error).text]))
    return "\n\n".join([MARKS, *parts])


def subjects() -> Iterator[tuple[str, list[Any]]]:
    """List what there is by the name of its page, as Airflow is told of it."""
    info = get_provider_info()
    for kind in ("operators", "sensors", "triggers", "hooks"):
        modules = [module for each in info[kind] for module in each["python-modules"]]
        yield kind, [found for module in modules for found in classes_in(module)]
    yield "decorators", [imported(each["class-name"]) for each in info["task-decorators"]]
    yield "links", [imported(path) for path in info["extra-links"]]
    yield "retry policy", [imported(f"{PACKAGE}.retry_policy.ChatbaseRetryPolicy")]
    yield (
        "simulator",
        [imported(f"{PACKAGE}.simulator.{name}") for name in ("Simulator", "Settings", "Fault")],
    )


def imported(path: str) -> Any:
    """Import something by its dotted path."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def classes_in(module: str) -> list[type]:
    """Return the classes that a module shows to users."""
    own = [each for each in vars(importlib.import_module(module)).values() if isinstance(each, type)]
    return [each for each in own if each.__module__ == module and each.__name__.startswith("Chatbase")]


def reference_pages() -> Iterator[tuple[str, str]]:
    """Make the pages: each one's path in the site and its text."""
    for title, found in subjects():
        sections = [
            class_section(each) if isinstance(each, type) else function_section(each) for each in found
        ]
        yield f"reference/{title.replace(' ', '-')}.md", page(title.capitalize(), sections)
    yield "reference/exceptions.md", page("Exceptions", [exception_sections()])


def page(title: str, sections: list[str]) -> str:
    """Put a page together."""
    return "\n\n".join([f"# {title}", *sections, ""])
