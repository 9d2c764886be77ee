"""Landing conversations in files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_chatbase.operators.base import ChatbaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_chatbase.exports.window import Moment


class ChatbaseExportConversationsOperator(ChatbaseOperator):
    """
    Exports an agent's conversations of every channel as JSON lines: ``exportConversations``.

    One window, half-open: created at or after ``start`` and before ``end``, in UTC. Without either, the
    run's data interval. Conversations are written page by page, so memory does not grow with their
    number. ``conversations.jsonl`` comes first and ``_manifest.json`` last: where there is a manifest, the
    export is whole. A rerun replaces it. The task fails when fewer conversations arrive than the API
    counts; then what was there before is still there.

    Returns the manifest (``rows``, ``bytes``, ``api_total``, ``window``, ``files`` with path, rows, bytes and
    sha256) with ``output_path`` and ``manifest_path``; never the rows.

    :param output_path: URL of a directory on any storage that Airflow knows (``file://``, ``s3://``, …).
    :param start: the first moment: ISO 8601, a date or a datetime; without a zone it is UTC.
    :param end: the first moment after the window; with only ``start`` given, the present.
    :param agent_id: the agent; by default the connection's.
    :param storage_conn_id: the storage's Airflow connection; it may stand in the URL too.
    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    template_fields: Sequence[str] = (
        *ChatbaseOperator.template_fields,
        "output_path",
        "start",
        "end",
        "storage_conn_id",
    )

    def __init__(
        self,
        *,
        output_path: str,
        start: Moment | None = None,
        end: Moment | None = None,
        storage_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.output_path = output_path
        self.start = start
        self.end = end
        self.storage_conn_id = storage_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Export the window.

        :param context: the task's context.
        :return: the manifest and where it is.
        :raises ChatbaseIncompleteExportError: when fewer conversations arrive than the API counts.
        """
        from airflow_provider_chatbase.exports.conversations import export_window
        from airflow_provider_chatbase.exports.manifest import MANIFEST
        from airflow_provider_chatbase.exports.window import choose_window
        from airflow_provider_chatbase.object_storage import open_directory

        with self.hook() as hook:
            interval = (context.get("data_interval_start"), context.get("data_interval_end"))
            window = choose_window(self.start, self.end, interval, datetime.now(tz=UTC))
            directory = open_directory(self.output_path, self.storage_conn_id)
            manifest = export_window(hook.client, hook.agent_or_default(self.agent_id), window, directory)
        self.log.info(
            "Exported %d conversations created from %s until before %s to %s.",
            manifest.rows,
            *window.as_json().values(),
            directory.url,
        )
        return {
            **manifest.as_json(),
            "output_path": directory.url,
            "manifest_path": f"{directory.url}/{MANIFEST}",
        }
