"""Sources of an agent: list, get, create, update, delete. They train when they are written."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.replies import Page, bare_object, identified, page
from airflow_provider_chatbase.client.request import (
    UPLOAD_PATIENCE,
    Form,
    JsonObject,
    Request,
    require_object,
    require_page_limit,
    require_text,
    segment,
)

TEXT_NAME_LENGTH = 100
TEXT_CONTENT_LENGTH = 1_048_576
MOST_QUESTIONS = 50
LINK_TYPES = ("individual", "sitemap", "crawl")


def list_sources(
    agent_id: str, *, types: Sequence[str] = (), name: str | None = None, limit: int = 100
) -> Request[Page]:
    """List an agent's sources: ``listSources``."""
    query = {"limit": require_page_limit(limit, 100), "type": ",".join(types) or None, "name": name}
    return Request("listSources", "GET", sources_path(agent_id), page, query=query)


def get_source(agent_id: str, source_id: str) -> Request[JsonObject]:
    """Get a source with its training status: ``getSource``."""
    return Request("getSource", "GET", source_path(agent_id, source_id), identified)


def get_summary(agent_id: str) -> Request[JsonObject]:
    """Count an agent's sources by type, with their sizes in bytes: ``getSourcesSummary``."""
    return Request("getSourcesSummary", "GET", f"{sources_path(agent_id)}/summary", bare_object)


def create_text_source(agent_id: str, name: str, content: str) -> Request[JsonObject]:
    """Give an agent a text to learn: ``createSource``. Never repeated blindly."""
    return _create(
        agent_id,
        {
            "type": "text",
            "name": require_text("name", name, longest=TEXT_NAME_LENGTH),
            "content": check_content(content),
        },
    )


def create_qna_source(agent_id: str, name: str, questions: Sequence[str], answer: str) -> Request[JsonObject]:
    """Give an agent questions with their answer: ``createSource``. Never repeated blindly."""
    checked = check_qna(questions, answer)
    return _create(agent_id, {"type": "qna", "name": require_text("name", name), **checked})


def create_link_source(
    agent_id: str,
    url: str,
    link_type: str = "individual",
    *,
    exclude_paths: Sequence[str] = (),
    include_only_paths: Sequence[str] = (),
    slow_scraping: bool = False,
) -> Request[JsonObject]:
    """Let an agent read web pages: ``createSource``. Never repeated blindly."""
    check_link(url, link_type)
    body: JsonObject = {"type": "link", "url": url, "linkType": link_type}
    if exclude_paths:
        body["excludePaths"] = list(exclude_paths)
    if include_only_paths:
        body["includeOnlyPaths"] = list(include_only_paths)
    if slow_scraping:
        body["slowScraping"] = True
    return _create(agent_id, body)


def update_source(agent_id: str, source_id: str, changes: JsonObject) -> Request[JsonObject]:
    """Change a text, Q&A or link source: ``updateSource``."""
    body = require_object("changes", changes)
    if not body:
        raise ChatbaseInputError("changes is empty: there is nothing to change. Nothing was sent.")
    if "name" in body:
        require_text("changes['name']", body["name"])
    if "content" in body:
        check_content(body["content"], "changes['content']")
    if "questions" in body:
        body["questions"] = _questions(body["questions"])
    return Request("updateSource", "PUT", source_path(agent_id, source_id), identified, body=body)


def delete_source(agent_id: str, source_id: str) -> Request[JsonObject]:
    """Delete a source, for good: ``deleteSource``."""
    gone = {"id": source_id, "status": "deleted"}
    return Request(
        "deleteSource",
        "DELETE",
        source_path(agent_id, source_id),
        identified,
        means_done={"SOURCE_ALREADY_PENDING_DELETION": {"id": source_id, "status": "toBeDeleted"}},
        means_done_on_repeat={"SOURCE_NOT_FOUND": gone, "RESOURCE_NOT_FOUND": gone},
    )


def _create(agent_id: str, body: JsonObject) -> Request[JsonObject]:
    return Request("createSource", "POST", sources_path(agent_id), identified, body=body, repeatable=False)


def _questions(questions: Sequence[str]) -> list[str]:
    if isinstance(questions, str) or not 1 <= len(questions) <= MOST_QUESTIONS:
        raise ChatbaseInputError(
            f"questions must be a list of 1 to {MOST_QUESTIONS} questions. Nothing was sent."
        )
    return [require_text("a question", question) for question in questions]


def check_content(content: str, name: str = "content") -> str:
    """Refuse what Chatbase does not take for a text."""
    return require_text(name, content, longest=TEXT_CONTENT_LENGTH)


def check_qna(questions: Sequence[str], answer: str) -> JsonObject:
    """Refuse what Chatbase does not take for questions and their answer."""
    return {"questions": _questions(questions), "answer": require_text("answer", answer)}


def check_link(url: str, link_type: str) -> None:
    """Refuse what Chatbase does not take for a link."""
    if link_type not in LINK_TYPES:
        raise ChatbaseInputError(
            f"link_type must be one of {', '.join(LINK_TYPES)}, not {link_type!r}. Nothing was sent."
        )
    require_text("url", url)


def sources_path(agent_id: str) -> str:
    """Return the path of an agent's sources, the same on both hosts."""
    return f"/agents/{segment('agent_id', agent_id)}/sources"


def source_path(agent_id: str, source_id: str) -> str:
    """Return the path of a source, the same on both hosts."""
    return f"{sources_path(agent_id)}/{segment('source_id', source_id)}"


FILE_SUFFIXES = (".pdf", ".doc", ".docx", ".txt")
FILE_SIZE = 20 * 1024 * 1024


def create_file_source(agent_id: str, name: str, filename: str, content: bytes) -> Request[JsonObject]:
    """Give an agent a file to learn: ``createFileSource``. Never repeated blindly."""
    check_file(filename, len(content))
    return Request(
        "createFileSource",
        "POST",
        sources_path(agent_id),
        identified,
        host="files",
        form=Form({"name": require_text("name", name)}, filename, content),
        repeatable=False,
        patience=UPLOAD_PATIENCE,
    )


def update_file_source(
    agent_id: str,
    source_id: str,
    *,
    name: str | None = None,
    filename: str | None = None,
    content: bytes = b"",
) -> Request[JsonObject]:
    """Rename a file source or replace its file: ``updateFileSource``."""
    if name is None and filename is None:
        raise ChatbaseInputError("Give a name or a file: there is nothing to change. Nothing was sent.")
    if filename is not None:
        check_file(filename, len(content))
    path = source_path(agent_id, source_id)
    form = Form({} if name is None else {"name": require_text("name", name)}, filename, content)
    return Request(
        "updateFileSource", "PUT", path, identified, host="files", form=form, patience=UPLOAD_PATIENCE
    )


def check_file(filename: str, size: int) -> None:
    """Refuse a file that Chatbase does not take."""
    if not filename.lower().endswith(FILE_SUFFIXES):
        raise ChatbaseInputError(
            f"{filename} is no {', '.join(FILE_SUFFIXES)} file; Chatbase takes no other. Nothing was sent."
        )
    if not 0 < size <= FILE_SIZE:
        raise ChatbaseInputError(
            f"{filename} has {size:,} bytes; Chatbase takes 1 to {FILE_SIZE:,}. Nothing was sent."
        )
