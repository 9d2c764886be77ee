"""File sources: the two operations of the files host."""

from __future__ import annotations

from airflow_provider_chatbase.client.checks import require_text
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.request import UPLOAD_PATIENCE, Form, JsonObject, Request
from airflow_provider_chatbase.client.shapes import identified
from airflow_provider_chatbase.client.v2.sources import source_path, sources_path

FILE_SUFFIXES = (".pdf", ".doc", ".docx", ".txt")
FILE_SIZE = 20 * 1024 * 1024
UPLOADS_A_MINUTE = 10
"""Uploads that an account may make in a minute; a refused one counts too."""


def create_file_source(agent_id: str, name: str, filename: str, content: bytes) -> Request[JsonObject]:
    """
    Give an agent a file to learn: ``createFileSource``. Never repeated blindly.

    :param agent_id: the agent.
    :param name: the source's name.
    :param filename: the file's name, ending in .pdf, .doc, .docx or .txt.
    :param content: its bytes, at most 20 MB.
    :return: a request for the new source.
    :raises ChatbaseInputError: when the name is empty, or Chatbase does not take such a file.
    """
    check_file(filename, len(content))
    return Request(
        operation="createFileSource",
        method="POST",
        path=sources_path(agent_id),
        host="files",
        form=Form({"name": require_text("name", name)}, filename, content),
        read=identified,
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
    """
    Rename a file source or replace its file: ``updateFileSource``.

    :param agent_id: the agent.
    :param source_id: the source.
    :param name: its new name; by default it keeps the old one.
    :param filename: the new file's name; by default the file stays.
    :param content: the new file's bytes, at most 20 MB.
    :return: a request for the source. While it trains it is refused: ``SOURCE_IS_TRAINING``.
    :raises ChatbaseInputError: when there is no change, or Chatbase does not take such a file.
    """
    if name is None and filename is None:
        raise ChatbaseInputError("Give a name or a file: there is nothing to change. Nothing was sent.")
    if filename is not None:
        check_file(filename, len(content))
    return Request(
        operation="updateFileSource",
        method="PUT",
        path=source_path(agent_id, source_id),
        host="files",
        form=Form({} if name is None else {"name": require_text("name", name)}, filename, content),
        read=identified,
        patience=UPLOAD_PATIENCE,
    )


def check_file(filename: str, size: int) -> None:
    """
    Refuse a file that Chatbase does not take.

    :param filename: its name.
    :param size: its size in bytes.
    :raises ChatbaseInputError: when its format is another, or it is empty or too big.
    """
    if not filename.lower().endswith(FILE_SUFFIXES):
        raise ChatbaseInputError(
            f"{filename} is no {', '.join(FILE_SUFFIXES)} file; Chatbase takes no other. Nothing was sent."
        )
    if not 0 < size <= FILE_SIZE:
        raise ChatbaseInputError(
            f"{filename} has {size:,} bytes; Chatbase takes 1 to {FILE_SIZE:,}. Nothing was sent."
        )
