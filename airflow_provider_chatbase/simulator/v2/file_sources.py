"""File sources: the operations of the files host."""

from __future__ import annotations

from pathlib import PurePosixPath

from airflow_provider_chatbase.simulator.agents import add_source, change_content
from airflow_provider_chatbase.simulator.errors import invalid
from airflow_provider_chatbase.simulator.exchange import Reply
from airflow_provider_chatbase.simulator.multipart import FormFile, read_form
from airflow_provider_chatbase.simulator.v2.sources import check_editable, find_source
from airflow_provider_chatbase.simulator.v2.views import source_view
from airflow_provider_chatbase.simulator.world import Call

MAX_FILE = 20 * 1024 * 1024
SUFFIXES = (".pdf", ".doc", ".docx", ".txt")


def create(call: Call) -> Reply:
    """Answer createFileSource."""
    _count_upload(call)
    agent = call.agent()
    fields, files = read_form(call.request)
    name, file = fields.get("name", ""), files.get("file")
    if not name or file is None:
        missing = {"name": "Required"} if not name else {"file": "Required"}
        raise invalid(missing, "Invalid request body")
    _check_file(file)
    source = add_source(call.world, agent, "file", name, _text(file), size=len(file.content))
    source.details = {"filename": file.name, "content": file.content}
    return Reply(201, source_view(call.world, source))


def update(call: Call) -> Reply:
    """Answer updateFileSource."""
    _count_upload(call)
    agent = call.agent("SOURCE_NOT_FOUND")
    source = find_source(call, agent)
    fields, files = read_form(call.request)
    name, file = fields.get("name"), files.get("file")
    if source.type != "file" or name == "" or (name is None and file is None):
        raise invalid({"body": "Give name or file of a file source"}, "Invalid request body")
    check_editable(call, source)
    if file is not None:
        _check_file(file)
        change_content(call.world, agent, source, _text(file), size=len(file.content))
        source.details = {"filename": file.name, "content": file.content}
    source.name = name or source.name
    return Reply(payload=source_view(call.world, source))


def _count_upload(call: Call) -> None:
    allowance = call.world.limits.take_upload(call.key.workspace)
    if not allowance.granted:
        raise call.world.limits.refusal(allowance, "Rate limit exceeded.")


def _check_file(file: FormFile) -> None:
    if PurePosixPath(file.name).suffix.lower() not in SUFFIXES:
        raise invalid({"file": f"Unsupported file type; supported: {', '.join(SUFFIXES)}"})
    if not 0 < len(file.content) <= MAX_FILE:
        raise invalid({"file": f"File size must be between 1 and {MAX_FILE} bytes"})


def _text(file: FormFile) -> str:
    return file.content.decode("utf-8", "ignore")
