"""What a user of Airflow's command line sees of the provider, in this process."""

from __future__ import annotations

import json

import pytest

ADDED = "chatbase_of_the_command_line"


@pytest.fixture
def airflow(airflow_db, monkeypatch, capsys):
    """Return a function that runs an ``airflow`` command and returns its exit code and its output."""
    monkeypatch.setenv("AIRFLOW__CORE__TEST_CONNECTION", "Enabled")

    def run(*arguments: str) -> tuple[int, str]:
        from airflow.cli import cli_parser

        parsed = cli_parser.get_parser().parse_args(arguments)
        capsys.readouterr()
        try:
            parsed.func(parsed)
            code = 0
        except SystemExit as end:
            code = int(end.code) if isinstance(end.code, int) else 1
            if isinstance(end.code, str):
                return code, end.code
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return run


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_provider_and_its_connection_type_are_listed(airflow):
    code, shown = airflow("providers", "list", "--output", "json")
    assert code == 0
    assert "airflow-provider-chatbase" in shown
    code, shown = airflow("providers", "hooks", "--output", "json")
    listed = json.loads(shown[shown.index("[{") :].splitlines()[0])
    [hook] = [row for row in listed if row["connection_type"] == "chatbase"]
    assert "Error" not in hook["hook_name"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_connection_is_added_and_tested(airflow, simulator):
    def add(key: str) -> str:
        airflow("connections", "delete", ADDED)
        extra = json.dumps({"agent_id": simulator.agent_id})
        arguments = ["--conn-type", "chatbase", "--conn-host", simulator.url, "--conn-password", key]
        code, shown = airflow("connections", "add", ADDED, *arguments, "--conn-extra", extra)
        assert code == 0, shown
        return shown

    shown = add(simulator.api_key)
    assert ADDED in shown
    assert simulator.api_key not in shown
    code, shown = airflow("connections", "test", ADDED)
    assert code == 0, shown
    assert "success" in shown
    assert len(simulator.requests_for("listAgents")) == 1

    add("sk-wrong-key")
    code, shown = airflow("connections", "test", ADDED)
    assert "Check the password of the Airflow connection" in shown
    assert "sk-wrong-key" not in shown
    airflow("connections", "delete", ADDED)
