"""Airflow's pages as a new user meets them: the forms of the connection and the examples, links, logs."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import airflow
import pytest
from quickstart_demo.airflow_api import ENDED, AirflowApi
from quickstart_demo.airflow_instance import AirflowInstance
from quickstart_demo.child_processes import ChildProcesses
from selenium.common.exceptions import ElementClickInterceptedException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from airflow_provider_chatbase.simulator import Simulator

pytestmark = [
    pytest.mark.long,
    pytest.mark.system,
    pytest.mark.timeout(900),
    pytest.mark.skipif(airflow.__version__ < "3.2", reason="the pages of Airflow 3.0 and 3.1 are others"),
]

EXAMPLES = Path(__file__).parents[2] / "example_dags"
SECONDS_TO_WAIT = 300  # also on a machine that has a lot to do besides
KEY = "sk-of-the-browser-test-0815"
SCREENSHOTS = os.environ.get("KEEP_SCREENSHOTS")
"""A folder to put pictures of the pages into, for someone to look at."""
SEEN = 125
"""So many characters of a line of a log are seen, with its time and its level."""
TOASTS = "[data-scope=toast][data-part=root]"
LOGS = "[data-testid=virtualized-list]"

BY_EVENTS = {"chatbase_low_confidence"}

UNBREAKABLE = re.compile(r"://| untrained|^ - (trigger |Trigger fired)")
"""An address is one word; what is waited for is named after how many there are; and Airflow's own lines."""

TOLD = {
    ("chatbase_agents_as_code", "apply"): "Created agent",
    ("chatbase_analytics", "export"): "Exported ",
    ("chatbase_ask_daily", "ask"): "Answered with",
    ("chatbase_batch_prompts", "ask"): "3 of 3 prompts are answered",
    ("chatbase_blue_green", "clone"): "is a copy of",
    ("chatbase_contacts_and_tickets", "contacts"): "Synced: 2 created",
    ("chatbase_delta_nightly", "export_conversations"): "Exported 5",
    ("chatbase_export_incremental", "export_conversations"): "Exported 5",
    ("chatbase_golden_questions", "ask_live"): "2 of 2 prompts are answered",
    ("chatbase_quickstart", "wait_for_training"): "1 source trained.",
    ("chatbase_send_templates", "send"): "Planned, and nothing was sent",
    ("chatbase_sync_docs", "sync"): "created: 2",
}
"""What the log of an example's task says, beside how it is said."""


class Person:
    """Someone at Airflow's pages, who finds things by what is written on them."""

    def __init__(self, browser: Any, url: str) -> None:
        self.browser = browser
        browser.get(f"{url}/dags")

    def open(self, path: str) -> None:
        """Go to a page as its links do, without loading all of Airflow's script anew."""
        script = "history.pushState({}, '', arguments[0]); dispatchEvent(new PopStateEvent('popstate'))"
        self.browser.execute_script(script, path)

    def all(self, selector: str) -> list[Any]:
        return [each for each in self.browser.find_elements(By.CSS_SELECTOR, selector) if each.is_displayed()]

    def until(self, happens: Callable[[], Any]) -> Any:
        # What the page draws anew, or moves, while it is looked at is looked for again.
        moving = [StaleElementReferenceException, ElementClickInterceptedException]
        return WebDriverWait(self.browser, 120, 0.1, moving).until(lambda _: happens())

    def button(self, name: str, within: str = "") -> Any:
        """Wait for a button of this name that can be pressed, and return it."""

        def found() -> Any:
            for each in self.all(f"{within} button, {within} a"):
                if name in (each.text, each.get_attribute("aria-label")) and each.is_enabled():
                    return each
            return None

        return self.until(found)

    def press(self, name: str, within: str = "") -> None:
        def pressed() -> bool:
            button = self.button(name, within)
            self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
            button.click()
            return True

        self.until(pressed)

    def fill(self, field: str, value: str) -> None:
        (found,) = self.until(lambda: self.all(f"[role=dialog] input[name={field}]"))
        found.send_keys(value)

    def read(self, selector: str) -> str:
        return "\n".join(each.text for each in self.all(selector))

    def read_log(self, path: str, saying: str, name: str) -> str:
        """Open a task's page and return its log, as soon as it says something."""
        self.open(path)
        self.until(lambda: saying in self.read(LOGS))
        self.look(name)
        return self.read(LOGS)

    def look(self, name: str) -> None:
        if SCREENSHOTS:
            self.browser.save_screenshot(str(Path(SCREENSHOTS) / f"{name}.png"))


@pytest.fixture(scope="module")
def service() -> Iterator[Simulator]:
    with Simulator(api_key=KEY, conversations=50, training_seconds=0.5) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowApi]:
    """Start an Airflow that has the examples, and no connection yet; return its API."""
    folder = tmp_path_factory.mktemp("browser")
    instance = AirflowInstance(folder / "airflow", EXAMPLES / "chatbase_quickstart.py", {})
    instance.environment["AIRFLOW__CORE__TEST_CONNECTION"] = "Enabled"
    instance.prepare()
    for example in EXAMPLES.glob("*.py"):
        # They run when they are triggered, and write where the test may.
        text = example.read_text(encoding="utf-8").replace("file:///tmp/chatbase", folder.as_uri())
        text = re.sub(r'schedule=(CronTriggerTimetable\(.*?\)|"@daily"|\[\w+\])', "schedule=None", text)
        (instance.home / "dags" / example.name).write_text(text, encoding="utf-8")
    children = ChildProcesses(folder)
    try:
        instance.start(children)
        for _ in instance.components_as_they_become_healthy(children):
            pass
        with instance.api() as api:
            api._http.timeout = SECONDS_TO_WAIT
            wait(lambda: all(api.knows_dag(dag_id) for dag_id, _ in TOLD), seen=api.import_errors)
            yield api
    finally:
        children.stop()


def wait(for_what: Callable[[], object], seen: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while not for_what():
        assert time.monotonic() < deadline, f"waited in vain; seen: {seen()}"
        time.sleep(0.3)


@pytest.fixture(scope="module")
def person(api: AirflowApi, browser: Any) -> Person:
    return Person(browser, str(api._http.base_url).rstrip("/"))


@pytest.fixture(scope="module")
def connection(person: Person, service: Simulator) -> str:
    """Fill in the form of a connection, save it, test it, and return what the test says."""
    person.open("/connections")
    person.press("Add Connection")
    person.fill("connection_id", "chatbase_default")
    # The types come by a request of their own, and their field with them.
    kind = person.until(lambda: person.all("[role=dialog] input")[1:2])[0]
    kind.send_keys("Chatbase")
    kind.send_keys(Keys.ENTER)
    for field, value in {"host": service.url, "password": KEY, "port": "0"}.items():
        person.fill(field, value)
    person.press("Extra Fields", "[role=dialog]")
    person.fill("element_agent_id", service.agent_id)
    person.fill("element_dashboard_url", f"{service.url}/dashboard/ridgeline/chatbots")
    person.look("connection")
    person.press("Save", "[role=dialog]")
    person.press("Test Connection")
    told = person.until(
        lambda: next((each.text for each in person.all(TOASTS) if "Test Connection" in each.text), None)
    )
    person.look("connection tested")
    return str(told)


@pytest.fixture(scope="module")
def runs(person: Person, connection: str) -> dict[str, str]:
    """Trigger each example from its form as it stands, and return the ids of the runs."""
    found = {}
    for dag_id, _ in TOLD:
        person.open(f"/dags/{dag_id}")
        person.press("Trigger")
        person.until(lambda: person.all("[role=dialog] input[name^=element_]"))
        person.look(f"{dag_id} form")
        person.press("Trigger", "[role=dialog]")
        place = f"/dags/{dag_id}/runs/"
        person.until(lambda place=place: place in person.browser.current_url)
        found[dag_id] = person.browser.current_url.rpartition("/")[2]
    return found


def page_of(dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str:
    mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
    return f"/dags/{dag_id}/runs/{quote(run_id)}/tasks/{task_id}{mapped}"


def test_the_connection_is_added_in_its_form_and_tested(connection: str, service: Simulator) -> None:
    assert f"Connected to {service.url} (API v2): the key sees 1 agent." in connection
    assert "The default agent is 'Ridgeline Support'." in connection


def test_each_example_runs_from_its_form(runs: dict[str, str], api: AirflowApi) -> None:
    states: dict[str, str] = {}

    def ended() -> bool:
        states.update({dag_id: api.run_state(dag_id, run_id) for dag_id, run_id in runs.items()})
        return set(states.values()) <= ENDED

    wait(ended, seen=lambda: states)
    assert states == dict.fromkeys(runs, "success")
    by_hand = {example.stem for example in EXAMPLES.glob("*.py")} - BY_EVENTS
    assert set(runs) == by_hand


@pytest.mark.parametrize(("dag_id", "task_id"), TOLD)
def test_a_log_is_read_without_scrolling(
    runs: dict[str, str], person: Person, dag_id: str, task_id: str
) -> None:
    index = 0 if task_id == "apply" else -1
    log = person.read_log(page_of(dag_id, runs[dag_id], task_id, index), TOLD[dag_id, task_id], dag_id)
    long = [line for line in log.splitlines() if len(line) > SEEN and not UNBREAKABLE.search(line)]
    assert long == []
    assert [line for line in log.splitlines() if line.startswith(("#", "|")) or "'status': '" in line] == []


@pytest.mark.parametrize(
    ("link", "page"),
    [("Chatbase agent", "playground"), ("Chatbase conversation", "activity/chat-logs?conversationId=")],
)
def test_a_link_leads_to_the_dashboard(
    runs: dict[str, str], person: Person, service: Simulator, link: str, page: str
) -> None:
    person.open(page_of("chatbase_quickstart", runs["chatbase_quickstart"], "ask") + "/details")
    button = person.button(link)
    address = f"{service.url}/dashboard/ridgeline/chatbot/{service.agent_id}/{page}"
    assert button.get_attribute("href").startswith(address)
    person.look(link)
    first = person.browser.current_window_handle
    button.click()
    person.until(lambda: len(person.browser.window_handles) > 1)
    person.browser.switch_to.window(person.browser.window_handles[-1])
    try:
        person.until(lambda: person.browser.current_url == f"{service.url}/")
    finally:
        person.browser.close()
        person.browser.switch_to.window(first)


def test_a_wrong_key_is_told_in_words_with_what_to_do(
    runs: dict[str, str], person: Person, api: AirflowApi
) -> None:
    body = {"connection_id": "chatbase_default", "conn_type": "chatbase", "password": "sk-mistyped-0815"}
    changed = api._http.patch("/api/v2/connections/chatbase_default?update_mask=password", json=body)
    changed.raise_for_status()
    run_id = api.trigger("chatbase_quickstart", {})
    wait(lambda: api.run_state("chatbase_quickstart", run_id) in ENDED, seen=lambda: run_id)
    page = page_of("chatbase_quickstart", run_id, "update_agent")
    log = person.read_log(page, "Task failed with exception", "wrong key")
    told = log[log.index("ERROR") : log.index("Task failed with exception")].splitlines()
    assert max(map(len, told)) <= SEEN
    words = " ".join(told)
    assert "Chatbase refused getAgent: Invalid API key" in words
    assert "Check the password of the Airflow connection" in words
    assert log.count("ChatbasePermanentError") == 1
    assert "ChatbaseAuthenticationError" not in log
    assert log.count("File ") < 15
    links = api._get(f"/api/v2/dags/chatbase_quickstart/dagRuns/{run_id}/taskInstances/update_agent/links")
    assert "/chatbot/" in links["extra_links"]["Chatbase agent"]
    assert json.dumps(links).count(KEY) == 0
