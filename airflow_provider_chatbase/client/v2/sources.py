"""Sources of an agent: list, get, create, update, delete. They train when they are written."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_chatbase.client.checks import require_object, require_page_limit, require_text
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.request import JsonObject, Request, segment
from airflow_provider_chatbase.client.shapes import Page, bare_object, identified, page

TEXT_NAME_LENGTH = 100
TEXT_CONTENT_LENGTH = 1_048_576
MOST_QUESTIONS = 50
LINK_TYPES = ("individual", "sitemap", "crawl")


def list_sources(
    agent_id: str, *, types: Sequence[str] = (), name: str | None = None, limit: int = 100
) -> Request[Page]:
    """
    List an agent's sources: ``listSources``.

    :param agent_id: the agent.
    :param types: only these types: link, file, qna, notionPage, text; all when empty.
    :param name: only names that contain this, in any case.
    :param limit: sources a page, 1 to 100.
    :return: a request for the first page.
    :raises ChatbaseInputError: when the id is empty or the limit out of range.
    """
    return Request(
        operation="listSources",
        method="GET",
        path=sources_path(agent_id),
        query={"limit": require_page_limit(limit, 100), "type": ",".join(types) or None, "name": name},
        read=page,
    )


def get_source(agent_id: str, source_id: str) -> Request[JsonObject]:
    """
    Get a source with its training status: ``getSource``.

    :param agent_id: the agent.
    :param source_id: the source.
    :return: a request for the source.
    :raises ChatbaseInputError: when an id is empty.
    """
    return Request(
        operation="getSource", method="GET", path=source_path(agent_id, source_id), read=identified
    )


def get_summary(agent_id: str) -> Request[JsonObject]:
    """
    Count an agent's sources by type, with their sizes in bytes: ``getSourcesSummary``.

    :param agent_id: the agent.
    :return: a request for ``{"links", "files", "qnas", "texts", …}``, each ``{"count", "size"}``.
    :raises ChatbaseInputError: when the id is empty.
    """
    return Request(
        operation="getSourcesSummary",
        method="GET",
        path=f"{sources_path(agent_id)}/summary",
        read=bare_object,
    )


def create_text_source(agent_id: str, name: str, content: str) -> Request[JsonObject]:
    """
    Give an agent a text to learn: ``createSource``. Never repeated blindly.

    :param agent_id: the agent.
    :param name: its name, at most 100 characters.
    :param content: the text, at most 1,048,576 characters.
    :return: a request for the new source.
    :raises ChatbaseInputError: when a text is empty or too long.
    """
    return _create(
        agent_id,
        {
            "type": "text",
            "name": require_text("name", name, longest=TEXT_NAME_LENGTH),
            "content": require_text("content", content, longest=TEXT_CONTENT_LENGTH),
        },
    )


def create_qna_source(agent_id: str, name: str, questions: Sequence[str], answer: str) -> Request[JsonObject]:
    """
    Give an agent questions with their answer: ``createSource``. Never repeated blindly.

    :param agent_id: the agent.
    :param name: its name.
    :param questions: 1 to 50 ways to ask.
    :param answer: the answer to all of them.
    :return: a request for the new source.
    :raises ChatbaseInputError: when a text is empty, or there are too few or too many questions.
    """
    return _create(
        agent_id,
        {
            "type": "qna",
            "name": require_text("name", name),
            "questions": _questions(questions),
            "answer": require_text("answer", answer),
        },
    )


def create_link_source(
    agent_id: str,
    url: str,
    link_type: str = "individual",
    *,
    exclude_paths: Sequence[str] = (),
    include_only_paths: Sequence[str] = (),
    slow_scraping: bool = False,
) -> Request[JsonObject]:
    """
    Let an agent read web pages: ``createSource``. Never repeated blindly.

    :param agent_id: the agent.
    :param url: where to start.
    :param link_type: ``individual``, ``sitemap`` or ``crawl``.
    :param exclude_paths: patterns of paths to leave out.
    :param include_only_paths: patterns of the only paths to read.
    :param slow_scraping: go easy on the site.
    :return: a request for the new source. The same URL and type twice is refused: ``SOURCE_DUPLICATE``.
    :raises ChatbaseInputError: when the URL is empty or the type unknown.
    """
    if link_type not in LINK_TYPES:
        raise ChatbaseInputError(
            f"link_type must be one of {', '.join(LINK_TYPES)}, not {link_type!r}. Nothing was sent."
        )
    body: JsonObject = {"type": "link", "url": require_text("url", url), "linkType": link_type}
    if exclude_paths:
        body["excludePaths"] = list(exclude_paths)
    if include_only_paths:
        body["includeOnlyPaths"] = list(include_only_paths)
    if slow_scraping:
        body["slowScraping"] = True
    return _create(agent_id, body)


def update_source(agent_id: str, source_id: str, changes: JsonObject) -> Request[JsonObject]:
    """
    Change a text, Q&A or link source: ``updateSource``.

    :param agent_id: the agent.
    :param source_id: the source.
    :param changes: for a text ``name``, ``content``; for Q&A ``name``, ``questions``, ``answer``; for a
        link ``excludePaths``, ``includeOnlyPaths``, ``slowScraping``. What is left out stays.
    :return: a request for the source. While it trains it is refused: ``SOURCE_IS_TRAINING``.
    :raises ChatbaseInputError: when there is no change, or a text is empty or too long.
    """
    body = require_object("changes", changes)
    if not body:
        raise ChatbaseInputError("changes is empty: there is nothing to change. Nothing was sent.")
    if "name" in body:
        require_text("changes['name']", body["name"])
    if "content" in body:
        require_text("changes['content']", body["content"], longest=TEXT_CONTENT_LENGTH)
    if "questions" in body:
        body["questions"] = _questions(body["questions"])
    return Request(
        operation="updateSource",
        method="PUT",
        path=source_path(agent_id, source_id),
        body=body,
        read=identified,
    )


def delete_source(agent_id: str, source_id: str) -> Request[JsonObject]:
    """
    Delete a source, for good: ``deleteSource``.

    :param agent_id: the agent.
    :param source_id: the source.
    :return: a request for the source with the status ``deleted`` or ``toBeDeleted``.
    :raises ChatbaseInputError: when an id is empty.
    """
    gone = {"id": source_id, "status": "deleted"}
    return Request(
        operation="deleteSource",
        method="DELETE",
        path=source_path(agent_id, source_id),
        read=identified,
        means_done={"SOURCE_ALREADY_PENDING_DELETION": {"id": source_id, "status": "toBeDeleted"}},
        means_done_on_repeat={"SOURCE_NOT_FOUND": gone, "RESOURCE_NOT_FOUND": gone},
    )


def _create(agent_id: str, body: JsonObject) -> Request[JsonObject]:
    return Request(
        operation="createSource",
        method="POST",
        path=sources_path(agent_id),
        body=body,
        read=identified,
        repeatable=False,
    )


def _questions(questions: Sequence[str]) -> list[str]:
    if isinstance(questions, str) or not 1 <= len(questions) <= MOST_QUESTIONS:
        raise ChatbaseInputError(
            f"questions must be a list of 1 to {MOST_QUESTIONS} questions. Nothing was sent."
        )
    return [require_text("a question", question) for question in questions]


def sources_path(agent_id: str) -> str:
    """
    Return the path of an agent's sources, the same on both hosts.

    :param agent_id: the agent.
    """
    return f"/agents/{segment('agent_id', agent_id)}/sources"


def source_path(agent_id: str, source_id: str) -> str:
    """
    Return the path of a source, the same on both hosts.

    :param agent_id: the agent.
    :param source_id: the source.
    """
    return f"{sources_path(agent_id)}/{segment('source_id', source_id)}"
