"""An Airflow path becomes a place to write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_chatbase.exports.errors import ChatbaseOutputError

if TYPE_CHECKING:
    from airflow_provider_chatbase.exports.directory import ExportDirectory


def open_directory(path: str, conn_id: str | None = None) -> ExportDirectory:
    """
    Open a directory on any storage that Airflow knows.

    :param path: URL of the directory: ``file://``, ``s3://``, ``gs://``, …, or a local path.
    :param conn_id: the storage's Airflow connection; it may stand in the URL too (``s3://conn@bucket/key``).
    :return: the directory.
    :raises ChatbaseOutputError: when the path is empty or its storage is not installed.
    """
    from airflow.sdk import ObjectStoragePath

    from airflow_provider_chatbase.exports.directory import ExportDirectory

    url = str(path or "").strip().rstrip("/")
    if not url or url.endswith(":"):
        raise ChatbaseOutputError(
            f"output_path {path!r} names no directory. Give a URL such as file:///data/export or "
            "s3://bucket/export. Nothing was exported."
        )
    try:
        directory = ObjectStoragePath(url, conn_id=conn_id)
        return ExportDirectory(fs=directory.fs, root=directory.path, url=url)
    except (ImportError, ValueError, OSError) as error:
        raise ChatbaseOutputError(
            f"The output path {url} cannot be used: {error}. Its storage may need a provider, such as "
            "apache-airflow-providers-amazon[s3fs] for s3://. Nothing was exported."
        ) from error
