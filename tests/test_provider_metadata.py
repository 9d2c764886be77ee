"""What Airflow learns about this provider from its entry point."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import pkgutil
import subprocess
import sys
from importlib.resources import files

import jsonschema
import pytest

import airflow_provider_chatbase
from airflow_provider_chatbase.get_provider_info import EXTRA_FIELDS, get_provider_info
from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

DISTRIBUTION = "airflow-provider-chatbase"
BASE_CLASSES = {
    "airflow_provider_chatbase.hooks.connection",
    "airflow_provider_chatbase.operators._task",
    "airflow_provider_chatbase.operators.export_base",
}


def test_entry_point_is_the_function_and_names_the_distribution():
    [entry_point] = importlib.metadata.distribution(DISTRIBUTION).entry_points.select(
        group="apache_airflow_provider"
    )

    assert entry_point.load() is get_provider_info
    assert get_provider_info()["package-name"] == DISTRIBUTION


def test_info_is_what_the_schema_of_this_airflow_wants():
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())

    jsonschema.validate(get_provider_info(), schema)


def test_reading_the_info_imports_neither_airflow_nor_an_http_library():
    code = (
        "import sys; from airflow_provider_chatbase.get_provider_info import get_provider_info;"
        "get_provider_info(); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert {name.partition(".")[0] for name in loaded.stdout.split()}.isdisjoint(
        {"airflow", "httpx", "httpx2", "tenacity"}
    )


@pytest.mark.filterwarnings("ignore:ProvidersManager.hooks is deprecated")
def test_airflow_lists_the_provider_and_imports_its_hook():
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    hook = manager.hooks["chatbase"]

    assert manager.providers[DISTRIBUTION].version == airflow_provider_chatbase.__version__
    assert hook is not None, "the hook class cannot be imported"
    assert (hook.package_name, hook.hook_name, hook.connection_id_attribute_name) == (
        DISTRIBUTION,
        "Chatbase",
        "chatbase_conn_id",
    )


@pytest.mark.filterwarnings("ignore")
def test_the_form_of_this_airflow_has_every_field():
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    pytest.importorskip("wtforms")
    [ours] = [each for each in HookMetaService.hook_meta_data() if each.connection_type == "chatbase"]
    shown = {name.removeprefix("extra__chatbase__"): field for name, field in ours.extra_fields.items()}
    assert list(shown) == list(EXTRA_FIELDS)
    assert shown["api_version"]["schema"]["enum"] == ["v2", "v1"]
    assert ours.standard_fields.password.title == "API key"
    assert ours.standard_fields.login.hidden


class Entered(dict[str, str]):
    """What a browser sends, as wtforms reads it."""

    def getlist(self, name: str) -> list[str]:
        return [self[name]] if name in self else []


@pytest.mark.parametrize(
    ("entered", "accepted"),
    [
        ({}, True),
        ({"api_version": "v1", "timeout": "12", "max_attempts": "3"}, True),
        ({"api_version": "v3"}, False),
        ({"max_attempts": "often"}, False),
    ],
)
def test_the_form_before_3_2_checks_what_is_entered(entered, accepted):
    wtforms = pytest.importorskip("wtforms")
    form = type("ConnectionForm", (wtforms.Form,), ChatbaseHook.get_connection_form_widgets())
    assert form(Entered(entered)).validate() is accepted


def modules_listed(kind: str) -> set[str]:
    return {module for entry in get_provider_info()[kind] for module in entry["python-modules"]}


def modules_with_classes_for_users(kind: str, ending: str) -> set[str]:
    package = importlib.import_module(f"airflow_provider_chatbase.{kind}")
    names = {found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")}
    return {
        name
        for name in names - BASE_CLASSES
        for value in vars(importlib.import_module(name)).values()
        if isinstance(value, type) and value.__module__ == name and value.__name__.endswith(ending)
    }


@pytest.mark.parametrize(
    ("kind", "ending"),
    [("hooks", "Hook"), ("operators", "Operator"), ("sensors", "Sensor"), ("triggers", "Trigger")],
)
def test_every_module_for_users_is_listed_and_no_other(kind, ending):
    assert modules_listed(kind) == modules_with_classes_for_users(kind, ending)
