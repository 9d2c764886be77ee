"""What the export operators have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_chatbase.operators._task import ChatbaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_chatbase.exports.job import Outcome
    from airflow_provider_chatbase.exports.manifest import Manifest
    from airflow_provider_chatbase.exports.spec import ExportSpec
    from airflow_provider_chatbase.exports.window import Moment, Window

FileFormat = Literal["jsonl", "csv", "parquet"]
Compression = Literal["gzip", "zstd"]

FEW = 3
"""So many files at the most are named in the result, which stays under 2 kB; the manifest names all."""


class ExportOperator(ChatbaseOperator):
    """
    What the export operators have in common.

    :param output_path: URL of a directory on any storage that Airflow knows (``file://``, ``s3://``, …).
        ``{agent_id}`` in it becomes the agent's id. A mapped task without it writes below ``agent_id=…/``.
    :param start: the first moment: ISO 8601, a date or a datetime; without a zone it is UTC.
    :param end: the first moment after the window; with only ``start`` given, the present.
    :param first_start: where to begin as long as there is no watermark and no window.
    :param file_format: ``jsonl`` (the API's objects), ``csv`` or ``parquet`` (tables).
    :param compression: ``gzip`` or ``zstd``; for Parquet the codec inside the file.
    :param partition_by: ``day`` puts each day (UTC) into a directory of its own.
    :param redact: what to hide before anything is written: a dict of column to ``drop``, ``mask``, ``hash``
        or ``detect`` (e-mail addresses and phone numbers in texts); ``*`` with ``detect`` means every text.
    :param redact_salt: goes into the hashes; keep it secret.
    :param escape_formulas: for CSV, keep a spreadsheet from taking a text for a formula.
    :param concurrency: how many parts of the window are read at the same time.
    :param storage_conn_id: the storage's Airflow connection; it may stand in the URL too.
    :param agent_id: the agent; by default the connection's.
    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    template_fields: Sequence[str] = (
        *ChatbaseOperator.template_fields,
        "output_path",
        "start",
        "end",
        "first_start",
        "file_format",
        "compression",
        "partition_by",
        "redact",
        "redact_salt",
        "storage_conn_id",
    )

    kind = ""
    by = "created"

    def __init__(
        self,
        *,
        output_path: str,
        start: Moment | None = None,
        end: Moment | None = None,
        first_start: Moment | None = None,
        file_format: FileFormat = "jsonl",
        compression: Compression | None = None,
        partition_by: Literal["day"] | None = None,
        redact: Mapping[str, str] | None = None,
        redact_salt: str | None = None,
        escape_formulas: bool = True,
        concurrency: int = 32,
        storage_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.output_path = output_path
        self.start = start
        self.end = end
        self.first_start = first_start
        self.file_format = file_format
        self.compression = compression
        self.partition_by = partition_by
        self.redact = redact
        self.redact_salt = redact_salt
        self.escape_formulas = escape_formulas
        self.concurrency = concurrency
        self.storage_conn_id = storage_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Export.

        :param context: the task's context.
        :return: counts and places; the files themselves are listed in the manifest.
        :raises ChatbaseIncompleteExportError: when fewer objects arrive than the API counts.
        :raises AirflowSkipException: when earlier runs have exported everything until now.
        """
        from airflow_provider_chatbase.export_runs import asset_watermark, emit_asset_events, output_url
        from airflow_provider_chatbase.exports.errors import storage_errors
        from airflow_provider_chatbase.exports.job import export
        from airflow_provider_chatbase.object_storage import open_directory

        with self.hook() as hook:
            agent_id = hook.agent_or_default(self.agent_id)
            directory = open_directory(output_url(self.output_path, agent_id, context), self.storage_conn_id)
            with storage_errors(directory.url):
                manifest = directory.read_manifest()
            if manifest is None or manifest.watermark is None:
                watermark = asset_watermark(self.outlets, context, self.kind, agent_id)
            else:
                watermark = manifest.watermark
            spec = self._spec(agent_id, hook.connection.settings.api_version, manifest, watermark, context)
            outcome = export(hook.open_async_client, directory, spec)
        result = self._result(outcome, directory.url)
        self.log.info(
            "Exported %d %s (%d bytes in %d files) to %s.",
            result["rows"],
            self.kind,
            result["bytes"],
            result["file_count"],
            directory.url,
        )
        self._exported = result
        emit_asset_events(self.outlets, context, result)
        return result

    def get_openlineage_facets_on_complete(self, _task_instance: Any) -> Any:
        """
        Say for OpenLineage what was read and written; called only where its provider is installed.

        :param _task_instance: the task instance.
        """
        from airflow_provider_chatbase.export_runs import lineage

        exported = getattr(self, "_exported", None)
        return lineage(exported) if exported else None

    def _spec(
        self,
        agent_id: str,
        api_version: str,
        manifest: Manifest | None,
        watermark: datetime | None,
        context: Context,
    ) -> ExportSpec:
        from airflow_provider_chatbase.export_runs import attempt_of
        from airflow_provider_chatbase.exports.formats import choose_tables
        from airflow_provider_chatbase.exports.manifest import Layout
        from airflow_provider_chatbase.exports.redaction import read_redaction
        from airflow_provider_chatbase.exports.spec import ExportSpec, cover_files
        from airflow_provider_chatbase.exports.window import ends_now

        self._check()
        partition_by = self._partition_by()
        tables = choose_tables(self.file_format, self.kind, self._tables())
        window = self._window(watermark, context)
        if window is not None:
            window = cover_files(window, manifest, self._by(), partition_by)
        open_ended = window is not None and ends_now(self.start, self.end, _interval(context))
        return ExportSpec(
            layout=Layout(
                self.kind,
                agent_id,
                self.file_format,
                self.compression,
                tuple(table.name for table in tables),
                partition_by,
            ),
            window=window,
            by=self._by(),
            api_version=api_version,
            redaction=read_redaction(self.redact, self.redact_salt),
            escape_formulas=self.escape_formulas,
            concurrency=self.concurrency,
            attempt_of=attempt_of(context) if open_ended else None,
            **self._selection(),
        )

    def _check(self) -> None:
        from airflow_provider_chatbase.client.errors import ChatbaseInputError

        if self.partition_by not in (None, "", "day"):
            raise ChatbaseInputError(f"partition_by must be 'day' or None, not {self.partition_by!r}.")
        if (
            isinstance(self.concurrency, bool)
            or not isinstance(self.concurrency, int)
            or self.concurrency < 1
        ):
            raise ChatbaseInputError(f"concurrency must be a number from 1, not {self.concurrency!r}.")

    def _window(self, watermark: datetime | None, context: Context) -> Window | None:
        from airflow.providers.common.compat.sdk import AirflowSkipException

        from airflow_provider_chatbase.exports.window import choose_window

        until = _until(context)
        interval = _interval(context)
        window = choose_window(self.start, self.end, interval, until, watermark, self._first_start())
        if window is None:
            raise AirflowSkipException(
                f"Earlier runs have exported everything until {watermark}, and this run is to export until "
                f"{until}. To export a window again, give start and end."
            )
        return window

    def _first_start(self) -> Moment | None:
        return self.first_start

    def _partition_by(self) -> str | None:
        return self.partition_by or None

    def _tables(self) -> Sequence[str] | None:
        return None

    def _by(self) -> str:
        return self.by

    def _selection(self) -> dict[str, Any]:
        return {}

    def _result(self, outcome: Outcome, url: str) -> dict[str, Any]:
        from airflow_provider_chatbase.exports.manifest import MANIFEST
        from airflow_provider_chatbase.exports.window import in_utc

        commit, manifest = outcome.commit, outcome.manifest
        tables: dict[str, int] = dict.fromkeys(manifest.layout.tables, 0)
        for file in outcome.files:
            tables[file.table] += file.rows
        return {
            "kind": self.kind,
            "agent_id": manifest.layout.agent_id,
            "format": manifest.layout.file_format,
            "window": commit.window.as_json() if commit.window else None,
            "rows": commit.rows,
            "api_total": commit.api_total,
            "excluded": commit.excluded,
            "bytes": sum(file.size for file in outcome.files),
            "tables": tables,
            "file_count": len(outcome.files),
            "files": [file.as_json() for file in outcome.files] if len(outcome.files) <= FEW else None,
            "watermark": in_utc(manifest.watermark) if manifest.watermark else None,
            "output_path": url,
            "manifest_path": f"{url}/{MANIFEST}",
        }


def _interval(context: Context) -> tuple[datetime | None, datetime | None]:
    return context.get("data_interval_start"), context.get("data_interval_end")


def _until(context: Context) -> datetime:
    """Return until when to export where no end is given: a scheduled run's moment, else the present."""
    run_type = str(getattr(context.get("dag_run"), "run_type", "")).rsplit(".", 1)[-1].lower()
    end = context.get("data_interval_end")
    now = datetime.now(tz=UTC)
    return min(end, now) if end is not None and run_type in ("scheduled", "backfill") else now
