"""What a user gets wrong: one clear sentence, no retry, and nothing half done."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException
from exporting import export

from airflow_provider_chatbase.exceptions import ChatbasePermanentError
from airflow_provider_chatbase.operators.agents import ChatbaseUpdateAgentOperator
from airflow_provider_chatbase.operators.batch import ChatbaseBatchPromptOperator
from airflow_provider_chatbase.operators.chat import ChatbaseSendMessageOperator
from airflow_provider_chatbase.operators.exports import ChatbaseExportConversationsOperator


@pytest.fixture
def simulator(simulator, connect):
    connect(simulator)
    return simulator


def ask(**arguments):
    ChatbaseSendMessageOperator(task_id="ask", message="Hello?", **arguments).execute({})


def update(**arguments):
    ChatbaseUpdateAgentOperator(task_id="update", settings={"temp": 0.9}, **arguments).execute({})


@pytest.fixture(params=["ask", "update", "export"])
def run(request, tmp_path):
    """Run each operator; an export goes below a directory that is not there."""
    if request.param == "export":
        return lambda **arguments: export(tmp_path / "deep" / "down", **arguments)
    return {"ask": ask, "update": update}[request.param]


def sentence(run, **arguments) -> str:
    with pytest.raises(ChatbasePermanentError) as raised:
        run(**arguments)
    text = str(raised.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path):
    yield
    assert [each for each in tmp_path.iterdir() if each.name != "file"] == []


def test_a_wrong_key(simulator, connect, run):
    connect(simulator, password="sk-wrong-key")
    text = sentence(run)
    assert "AUTH_INVALID_API_KEY, HTTP 401, request req_" in text
    assert "Check the password of the Airflow connection" in text
    assert "sk-wrong-key" not in text


def test_a_plan_without_api(simulator, connect, run):
    connect(simulator, password=simulator.add_key("sk-free", "no-api"))
    assert "API access needs a paid Chatbase plan" in sentence(run)


def test_a_key_without_rights(simulator, connect, run):
    connect(simulator, password=simulator.add_key("sk-none", "no-permission"))
    assert "Give the API key this right in Chatbase" in sentence(run)


def test_an_unknown_agent(simulator, run):
    text = sentence(run, agent_id="nobody")
    assert "AGENT_NOT_FOUND" in text
    assert "Check agent_id: this API key's workspace has no such agent." in text


def test_no_agent(simulator, connect, run):
    connect(simulator, extra={"agent_id": None})
    assert "No agent was named. Give agent_id, or set agent_id in the extra" in sentence(run)
    assert simulator.requests == []


def test_a_connection_that_is_wrong(simulator, connect, run):
    connect(simulator, extra={"timeout": "soon"})
    assert "The connection's extra field timeout must be a number of seconds above 0" in sentence(run)
    assert simulator.requests == []


class TestExport:
    @pytest.mark.parametrize(
        ("start", "end", "words"),
        [
            (
                "2026-02-01",
                "2026-01-01",
                "end 2026-01-01T00:00:00Z is not after its start 2026-02-01T00:00:00Z",
            ),
            ("2026-01-01", "2026-01-01", "It is half-open: start is in it, end is not"),
            ("yesterday", "2026-01-01", "start 'yesterday' is no time. Give ISO 8601"),
            ("2026-01-01", "2026-02-30", "end '2026-02-30' is no time"),
            (None, None, "Give start and end"),
            ("", "", "Give start and end"),
        ],
    )
    def test_a_wrong_window(self, simulator, tmp_path, start, end, words):
        text = sentence(export, output_path=tmp_path / "export", start=start, end=end)
        assert words in text
        most = 0 if start or end else 1  # for the moment of the first conversation
        assert len(simulator.requests) <= most, "it is found before anything is read"

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("", "names no directory. Give a URL such as file:///data/export or s3://bucket/export"),
            ("   ", "names no directory"),
            ("file://", "names no directory"),
            ("nowhere://bucket/export", "nowhere://bucket/export cannot be used"),
            (
                "gs://bucket/export",
                "Its storage may need a provider, such as apache-airflow-providers-amazon",
            ),
            ("file:///dev/null/export", "file:///dev/null/export cannot be listed: Not a directory"),
            ("file:///proc/export", "file:///proc/export cannot be written: "),
        ],
    )
    def test_a_path_that_cannot_be_used(self, simulator, url, words):
        text = sentence(export, output_path=url)
        assert words in text
        assert len(simulator.requests) <= 1, "a count at most, and no conversation is read"

    def test_a_path_below_a_file(self, simulator, tmp_path):
        (tmp_path / "file").write_text("mine")
        text = sentence(export, output_path=tmp_path / "file" / "export")
        assert text == f"The path file://{tmp_path}/file/export cannot be listed: Not a directory."
        assert (tmp_path / "file").read_text() == "mine"


def test_a_connection_that_is_not_there(simulator, run, caplog):
    """A retry may find it: Airflow cannot tell it from a secrets backend that is away."""
    with pytest.raises(AirflowNotFoundException):
        run(chatbase_conn_id="nope")
    assert "The conn_id `nope` isn't defined. Check the name" in caplog.text
    assert not simulator.requests


STORES = {
    "in the URL": {"output_path": "s3://nope@bucket/x"},
    "as an argument": {"output_path": "s3://bucket/x", "storage_conn_id": "nope"},
    "of a Delta table": {"output_path": "s3://nope@bucket/x", "file_format": "delta"},
}


@pytest.mark.parametrize("arguments", STORES.values(), ids=STORES)
def test_a_storage_s_connection_that_is_not_there(simulator, caplog, arguments):
    """Amazon's hook goes on without one, by the credentials of the machine."""
    with pytest.raises(AirflowNotFoundException):
        ChatbaseExportConversationsOperator(task_id="export", first_start="2026-01-01", **arguments).execute(
            {}
        )
    assert "The conn_id `nope` isn't defined. Check the name" in caplog.text
    assert not simulator.requests


def test_a_path_where_prompts_belong(simulator):
    task = ChatbaseBatchPromptOperator(task_id="batch", prompts="s3://bucket/p.csv", output_path="/tmp/x")
    with pytest.raises(ChatbasePermanentError, match="A file is named by its URL as prompts_path"):
        task.execute({})
    assert not simulator.requests
