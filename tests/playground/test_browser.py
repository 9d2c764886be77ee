"""The page in a real Chromium."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from airflow_provider_chatbase.simulator import Fault, Simulator

from .conftest import KEY, ask, playground_before

pytestmark = pytest.mark.long


class Reader:
    """A person at the browser."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    def open(self, url: str) -> None:
        self.browser.get(url)
        self.until(lambda: self.all(".opblock") and self.all("#agents option, #messages .error"))

    def all(self, selector: str) -> list[Any]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)  # type: ignore[no-any-return]

    def text(self, selector: str) -> str:
        found = self.all(selector)
        return found[-1].text if found else ""

    def until(self, happens: Callable[[], Any]) -> Any:
        return WebDriverWait(self.browser, 60, 0.05).until(lambda _: happens())

    def say(self, message: str) -> None:
        self.all("#message")[0].send_keys(message + "\n")

    def say_and_read(self, message: str) -> str:
        before = len(self.all(".figures"))
        self.say(message)
        self.until(lambda: len(self.all(".figures")) > before)
        return self.text("#messages .answer")

    def run(self, operation: str) -> str:
        """Open an operation, execute it as it is filled in, and return the status of the reply."""
        (block,) = self.all(f"[id$='-{operation}']")
        if not block.find_elements(By.CSS_SELECTOR, ".execute"):
            block.find_element(By.CSS_SELECTOR, ".opblock-summary-control").click()
            self.until(lambda: block.find_elements(By.CSS_SELECTOR, ".execute"))
        block.find_element(By.CSS_SELECTOR, ".execute").click()
        status = ".live-responses-table tbody .response-col_status"
        return str(self.until(lambda: block.find_element(By.CSS_SELECTOR, status).text)).split()[0]

    def forget(self) -> None:
        for log in ("browser", "performance"):
            self.browser.get_log(log)

    def received(self) -> tuple[set[str], str]:
        """Return the URLs that replied since then, and what Chromium keeps of it all."""
        log = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        replies = [each["params"]["response"] for each in log if each["method"] == "Network.responseReceived"]
        kept = json.dumps([log, self.browser.get_log("browser")])
        urls = {reply["url"] for reply in replies}
        # A first tab of Chromium's own may still be loading.
        return {each for each in urls if not each.startswith("chrome:")}, kept + self.browser.page_source


@pytest.fixture(scope="module")
def service() -> Iterator[Simulator]:
    with Simulator(api_key=KEY, conversations=30) as found:
        yield found


@pytest.fixture(scope="module")
def sent() -> list[bytes]:
    """Return all that the playground has sent to the browser: bodies, and headers."""
    return []


@pytest.fixture(scope="module")
def url(service: Simulator, sent: list[bytes]) -> Iterator[str]:
    with playground_before(service.url, agent_id=service.agent_id, sent=sent) as found:
        yield found


@pytest.fixture
def reader(browser: Any, service: Simulator) -> Reader:
    service.faults.clear()
    service.reset_log()
    return Reader(browser)


@pytest.fixture
def opened(reader: Reader, url: str) -> Reader:
    """Return a reader of the page, which is loaded once for all: that takes a second or more."""
    if reader.browser.current_url != f"{url}/":
        reader.open(url)
    reader.all("#fresh")[0].click()
    return reader


def test_an_operation_is_tried_by_hand_and_the_key_stays_where_it_is(
    reader: Reader, url: str, service: Simulator, sent: list[bytes]
) -> None:
    reader.forget()
    reader.open(url)
    assert "Calls are real and cost credits." in reader.text("#notice")
    assert reader.run("getAgent") == "200"
    assert service.agent_id in reader.text(
        "#operations-Agents-getAgent .live-responses-table .highlight-code"
    )
    assert reader.run("chatWithAgent") == "200"
    assert "finishReason" in reader.text(
        "#operations-Chat-chatWithAgent .live-responses-table .highlight-code"
    )
    assert reader.say_and_read("[sim:answer] Hello you") == "Hello you"
    urls, kept = reader.received()
    assert {f"{url}/", f"{url}/playground/v2.json", f"{url}/api/v2/agents/{service.agent_id}"} <= urls
    assert not [each for each in urls if not each.startswith((url, "data:"))]
    assert '"level": "SEVERE"' not in kept
    everything = b"".join(sent).decode()
    assert "text-delta" in everything
    assert "x-ratelimit-limit" in everything
    assert KEY not in everything + kept


def test_the_operations_of_api_v1_are_there_too(opened: Reader, service: Simulator) -> None:
    opened.all("nav button[data-version=v1]")[0].click()
    opened.until(lambda: opened.all("#operations-Chatbots-getChatbots"))
    assert opened.run("getChatbots") == "200"
    assert service.agent_id in opened.text(
        "#operations-Chatbots-getChatbots .live-responses-table .highlight-code"
    )


def test_an_answer_is_shown_as_it_comes_and_the_conversation_goes_on(
    reader: Reader, start_simulator: Callable[..., Simulator], open_playground: Callable[..., str]
) -> None:
    slow = start_simulator(api_key=KEY, stream_delay=0.3)
    reader.open(open_playground(slow.url, agent_id=slow.agent_id))
    reader.say("[sim:answer] one two three four five six seven eight nine ten")
    begun = reader.until(lambda: reader.text("#messages .answer.waiting"))
    assert begun.startswith("one two")
    assert "ten" not in begun
    reader.until(lambda: reader.all(".figures"))
    assert reader.text("#messages .answer").endswith("nine ten")
    assert reader.text(".figures").startswith("finish reason: stop · credits: 1 · ")
    conversation = reader.text("#conversation")
    assert slow.store.conversation(slow.agent_id, conversation)
    assert reader.say_and_read("[sim:answer] more") == "more"
    assert (reader.text("#conversation"), reader.text("#credits")) == (conversation, "2")
    reader.all("#fresh")[0].click()
    assert (reader.text("#conversation"), reader.text("#credits")) == ("new", "0")


REFUSED = {
    "Message limit reached (CHAT_CREDITS_EXHAUSTED, HTTP 402).": Fault(
        kind="status", status=402, code="CHAT_CREDITS_EXHAUSTED", message="Message limit reached."
    ),
    "The reply is no JSON (no code, HTTP 502).": Fault(kind="status", status=502),
    "The answer broke off: An error occurred while generating.": Fault(kind="stream_error"),
    "The answer broke off, and may have been kept, and charged, all the same.": Fault(kind="stream_cut"),
    "127.0.0.1 answered with a redirect, which would take the key along, and is not followed: correct the "
    "connection's host (PLAYGROUND_REDIRECT, HTTP 502).": Fault(
        kind="redirect", location="http://elsewhere.example/"
    ),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_goes_wrong_is_said_in_a_sentence_with_the_code(
    opened: Reader, service: Simulator, sentence: str
) -> None:
    service.faults.add(REFUSED[sentence])
    opened.say("Hello")
    opened.until(lambda: opened.all("#messages .error"))
    assert opened.text("#messages .error") == sentence
    assert not opened.all("#messages .figures")


def test_the_simulator_serves_the_page_with_its_own_key(
    reader: Reader, start_simulator: Callable[..., Simulator]
) -> None:
    simulator = start_simulator(stream_delay=0.05)
    reader.forget()
    reader.open(simulator.url)
    assert reader.text("#notice") == "This is a simulator. Its data is made up, and nothing costs anything."
    assert reader.run("getAgent") == "200"
    assert reader.say_and_read("[sim:answer] for nothing") == "for nothing"
    assert reader.run("deleteAgent") == "200"  # without a question
    urls, kept = reader.received()
    assert f"{simulator.url}/api/v2/agents/{simulator.agent_id}/chat" in urls
    assert not [each for each in urls if not each.startswith((simulator.url, "data:"))]
    assert '"level": "SEVERE"' not in kept
    assert {request.path.split("/")[1] for request in simulator.requests} == {"api"}


def test_a_wrong_key_is_said_at_once(
    reader: Reader, simulator: Simulator, open_playground: Callable[..., str]
) -> None:
    reader.open(open_playground(simulator.url))
    assert reader.text("#messages .error") == (
        "The agents cannot be listed. Invalid API key (AUTH_INVALID_API_KEY, HTTP 401): "
        "check the API key in the Airflow connection."
    )


def test_a_tool_that_the_agent_asks_for_is_shown(opened: Reader) -> None:
    opened.say_and_read("[sim:tool=refund]")
    assert opened.text("#messages .tool").startswith("The agent asks for the tool refund with {")
    assert "finish reason: tool-calls" in opened.text(".figures")


def test_text_of_an_answer_is_text(opened: Reader) -> None:
    assert opened.say_and_read("[sim:answer] <b id=x>bold</b>") == "<b id=x>bold</b>"
    assert not opened.all("#x")


def test_a_deletion_on_the_real_service_is_asked_about(opened: Reader, service: Simulator) -> None:
    (block,) = opened.all("#operations-Agents-deleteAgent")
    block.find_element(By.CSS_SELECTOR, ".opblock-summary-control").click()
    opened.until(lambda: block.find_elements(By.CSS_SELECTOR, ".execute"))
    block.find_element(By.CSS_SELECTOR, ".execute").click()
    alert = WebDriverWait(opened.browser, 60).until(lambda browser: browser.switch_to.alert)
    assert alert.text.startswith("This deletes for good, on the real service")
    alert.dismiss()
    opened.until(lambda: "Nothing was sent" in block.text)
    assert not service.requests_for("deleteAgent")


def test_a_page_of_another_origin_gets_nothing(
    reader: Reader, url: str, service: Simulator, serve_service: Callable[..., str]
) -> None:
    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    reader.browser.get(serve_service(answer))
    script = """
        const [url, done] = arguments;
        fetch(url + "/api/v2/agents/x/chat", { method: "POST", mode: "no-cors", body: "{}" })
          .then(() => fetch(url + "/api/v2/agents"))
          .then(() => done("read"), () => done("refused"));
    """
    before = len(service.requests)
    assert reader.browser.execute_async_script(script, url) == "refused"
    assert len(service.requests) == before
    assert ask(url, "/api/v2/agents")[0] == 200
