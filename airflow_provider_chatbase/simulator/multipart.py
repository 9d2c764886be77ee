"""Forms with files."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser

from airflow_provider_chatbase.simulator.errors import invalid
from airflow_provider_chatbase.simulator.exchange import Request


@dataclass(frozen=True, slots=True)
class FormFile:
    """An uploaded file."""

    name: str
    content: bytes


def read_form(request: Request) -> tuple[dict[str, str], dict[str, FormFile]]:
    """
    Return the fields and the files of a ``multipart/form-data`` body.

    :raises ApiError: 400, the body is malformed.
    """
    header = Message()
    header["Content-Type"] = request.headers.get("content-type", "")
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not boundary:
        raise invalid({"body": "Missing multipart boundary"})
    mark = b"--" + boundary.encode("latin-1")
    pieces = (b"\r\n" + request.body).split(b"\r\n" + mark)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise invalid({"body": "Malformed multipart body"})
    fields: dict[str, str] = {}
    files: dict[str, FormFile] = {}
    for piece in pieces[1:-1]:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = HeaderParser().parsestr(head.decode("utf-8", "replace"))
        name = headers.get_param("name", header="content-disposition")
        filename = headers.get_filename()
        if not isinstance(name, str):
            raise invalid({"body": "A form part has no name"})
        if filename is None:
            fields[name] = content.decode("utf-8", "replace")
        else:
            files[name] = FormFile(filename, content)
    return fields, files
