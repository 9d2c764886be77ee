"""An Airflow path becomes the directory of an export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.exports.errors import ChatbaseOutputError
from airflow_provider_chatbase.files import directory

if TYPE_CHECKING:
    from airflow_provider_chatbase.exports.directory import ExportDirectory


def open_directory(path: str, conn_id: str | None = None) -> ExportDirectory:
    """Open a directory on any storage that Airflow knows, for an export."""
    from airflow_provider_chatbase.exports.directory import ExportDirectory

    try:
        found = directory.open_directory(path, conn_id)
    except ChatbaseInputError as error:
        raise ChatbaseOutputError(
            error.message.replace("Nothing was done.", "Nothing was exported.")
        ) from error
    return ExportDirectory(found.fs, found.root, found.url)
