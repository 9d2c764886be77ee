"""The example that hands unsure answers to people, from the conversation to the source that comes of it."""

from __future__ import annotations

import pytest

pytest.importorskip("airflow.sdk.execution_time.hitl", reason="people are asked from Airflow 3.1 on")
pytestmark = [pytest.mark.long, pytest.mark.system, pytest.mark.timeout(900)]

DAG_ID = "chatbase_low_confidence"
QUESTION = "Is {{ conn.chatbase_default.password }} <b>right</b>?\n![](http://127.0.0.1/seen.png)"


def test_what_a_person_answers_becomes_a_source(airflow, api, simulator, wait):
    wait(lambda: simulator.requests_for("searchConversations"))
    [unsure] = simulator.create_conversations(message=QUESTION, reply="Perhaps.")
    unsure.messages[-1].score = 0.1
    [sure] = simulator.create_conversations(message="Are you sure?", reply="Yes.")
    sure.messages[-1].score = 0.9

    def asked():
        """Return what waits for an answer; one given before the task waits is lost to Airflow."""
        found = api._get("/api/v2/dags/~/dagRuns/~/hitlDetails?limit=100")["hitl_details"]
        return [each for each in found if each["task_instance"]["state"] in ("awaiting_input", "deferred")]

    wait(asked)
    [asking] = asked()
    body = asking["body"]
    assert "    Is {{ conn.chatbase_default.password }} <b>right</b>?\n    ![](" in body
    assert simulator.api_key not in body
    instance = asking["task_instance"]
    path = f"/api/v2/dags/{DAG_ID}/dagRuns/{instance['dag_run_id']}/taskInstances"
    said = {"chosen_options": ["OK"], "params_input": {"answer": "No: {{ 7 * 7 }}."}}
    url = f"{path}/{instance['task_id']}/{instance['map_index']}/hitlDetails"
    assert api._http.patch(url, json=said).status_code == 200

    def ended():
        """Answer again where Airflow asks again: it may lose an answer that comes within its own second."""
        if asked():
            api._http.patch(url, json=said)
        return api.run_state(DAG_ID, instance["dag_run_id"]) in {"success", "failed"}

    wait(ended)
    assert api.run_state(DAG_ID, instance["dag_run_id"]) == "success"
    message_id = unsure.messages[-1].id
    [source] = [each for each in simulator.store.sources(simulator.agent_id) if message_id in each.name]
    assert source.details == {"questions": [QUESTION], "answer": "No: {{ 7 * 7 }}."}
