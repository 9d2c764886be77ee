"""What the export operators have in common."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import quote

from airflow_provider_chatbase.exceptions import wrap
from airflow_provider_chatbase.hooks.task_instance import task_identity
from airflow_provider_chatbase.operators._task import ChatbaseOperator
from airflow_provider_chatbase.operators._written import emit_asset_events, lineage, without_connection

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_chatbase.exports.export import Exported, ExportSettings, Target
    from airflow_provider_chatbase.exports.window import Moment, Window
    from airflow_provider_chatbase.files.delta_storage import DeltaStorage
    from airflow_provider_chatbase.files.directory import Directory
    from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

    Output = Directory | DeltaStorage

log = logging.getLogger(__name__)

FileFormat = Literal["jsonl", "csv", "parquet", "delta"]
Compression = Literal["gzip", "zstd"]

FEW = 3
"""So many files at the most are named in the result, which stays under 2 kB; the manifest names all."""

PLACEHOLDER = "{agent_id}"

MARGIN = 120.0
"""Seconds that Chatbase may need, at the most, to show a conversation that was created."""


class ExportOperator(ChatbaseOperator):
    """
    What the export operators have in common.

    :param output_path: URL of a directory on any storage that Airflow knows (``file://``, ``s3://``, …).
        ``{agent_id}`` in it becomes the agent's id. A mapped task without it writes below ``agent_id=…/``.
    :param start: the first moment: ISO 8601, a date or a datetime; without a zone it is UTC.
    :param end: the first moment after the window; with only ``start`` given, the present.
    :param first_start: where to begin as long as there is no watermark and no window.
    :param file_format: ``jsonl`` (the API's objects), ``csv`` or ``parquet`` (tables); or ``delta``: tables
        in Delta Lake that are always current, into which every run is merged by id.
    :param compression: ``gzip`` or ``zstd``; for Parquet the codec inside the file.
    :param partition_by: ``day`` puts each day (UTC) into a directory of its own, and replaces it as a whole;
        the window must be whole days, and one that ends now ends with the last whole day.
    :param redact: what to hide before anything is written: a dict of column to ``drop``, ``mask``, ``hash``
        or ``detect`` (e-mail addresses, numbers of phones, cards and accounts in texts); ``*`` with
        ``detect`` means every text.
    :param redact_salt: goes into the hashes. It may be a template such as ``{{ var.value.chatbase_salt }}``;
        it is not shown among the rendered fields, and hidden from the log.
    :param redact_salt_conn_id: an Airflow connection whose password is the salt, in its place.
    :param remove_missing: for Delta, remove rows of the window that Chatbase no longer lists. It needs an
        export of all that was created in a window, with no selection.
    :param optimize: for Delta, make few files of many in the days that were written.
    :param vacuum_days: for Delta, remove the files that no version of so many days needs, at least 7; by
        default none, so that deleting needs no permission.
    :param escape_formulas: for CSV, keep a spreadsheet from taking a text for a formula.
    :param csv_null: for CSV, what stands for null, such as ``NULL``. By default nothing does, and an empty
        text is quoted.
    :param csv_bom: for CSV, begin with the mark by which Excel knows UTF-8 (``utf-8-sig``).
    :param concurrency: how many parts of the window are read at the same time.
    :param margin: seconds by which a window that ends now ends earlier, by Chatbase's clock: a conversation
        may show a moment after it was created.
    :param storage_conn_id: the storage's Airflow connection; it may stand in the URL too.
    :param agent_id: the agent; by default the connection's.
    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    flags: ClassVar[Sequence[str]] = ("remove_missing", "optimize", "escape_formulas", "csv_bom")
    numbers: ClassVar[Sequence[str]] = ("vacuum_days", "concurrency", "margin")
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
        "redact_salt_conn_id",
        "storage_conn_id",
        "csv_null",
        *flags,
        *numbers,
    )

    kind = ""
    by = "created"
    whole_days = False

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
        redact_salt_conn_id: str | None = None,
        remove_missing: bool = False,
        optimize: bool = True,
        vacuum_days: int | None = None,
        escape_formulas: bool = True,
        csv_null: str = "",
        csv_bom: bool = False,
        concurrency: int = 32,
        margin: float = MARGIN,
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
        self.redact_salt_conn_id = redact_salt_conn_id
        self.remove_missing = remove_missing
        self.optimize = optimize
        self.vacuum_days = vacuum_days
        self.escape_formulas = escape_formulas
        self.csv_null = csv_null
        self.csv_bom = csv_bom
        self.concurrency = concurrency
        self.margin = margin
        self.storage_conn_id = storage_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Export.

        :param context: the task's context.
        :return: counts and places; the files themselves are listed in the manifests.
        :raises ChatbaseIncompleteExportError: when fewer objects arrive than the API counts.
        :raises AirflowSkipException: when earlier runs have exported everything until now.
        """
        with self.hook() as hook:
            from airflow_provider_chatbase.exports.export import export

            self._check()
            agent_id = hook.agent_or_default(self.agent_id)
            output = self._open(output_url(self.output_path, agent_id, context))
            settings = self._settings(hook, agent_id, output, context)
            exported = export(hook.open_async_client, self._target(output, settings), settings)
        result = self._result(exported, settings, output)
        self.log.info("%s", wrap(in_words(result)))
        self._exported = result
        names = ("kind", "agent_id", "rows", "bytes", "window", "watermark", "tables")
        emit_asset_events(self.outlets, context, result, names)
        return result

    def get_openlineage_facets_on_complete(self, _task_instance: Any) -> Any:
        """
        Say for OpenLineage what was read and written; called only where its provider is installed.

        :param _task_instance: the task instance.
        """
        exported = getattr(self, "_exported", None)
        if not exported:
            return None
        read = f"agents/{exported['agent_id']}/{exported['kind']}"
        return lineage(read, exported["output_path"], rows=exported["rows"], size=exported["bytes"])

    def _check(self) -> None:
        from airflow_provider_chatbase.client.errors import ChatbaseInputError

        if self.partition_by not in (None, "", "day"):
            raise ChatbaseInputError(f"partition_by must be 'day' or None, not {self.partition_by!r}.")
        if not isinstance(self.csv_null, str) or set(self.csv_null) & set('",\r\n'):
            raise ChatbaseInputError(
                f"csv_null must be a text without quotes, commas and line ends, not {self.csv_null!r}."
            )
        if self.file_format != "delta" and (
            self.remove_missing or self.vacuum_days is not None or not self.optimize
        ):
            raise ChatbaseInputError("remove_missing, vacuum_days and optimize are for file_format='delta'.")
        if self.file_format != "csv" and (self.csv_null or self.csv_bom or not self.escape_formulas):
            raise ChatbaseInputError("csv_null, csv_bom and escape_formulas are for file_format='csv'.")
        if self.partition_by and self._by() != "created":
            raise ChatbaseInputError(
                "partition_by='day' owns whole days, and this export brings what changed on any day, or one "
                "conversation. Leave partition_by out; each run then has a directory of its own."
            )
        for name, least, most in (("concurrency", 1, 1_000), ("margin", 0, 86_400)):
            if not least <= (value := getattr(self, name)) <= most:
                raise ChatbaseInputError(f"{name} must be a number from {least} to {most}, not {value!r}.")

    def _open(self, url: str) -> Output:
        if self.file_format == "delta":
            from airflow_provider_chatbase.files.delta_storage import find_storage

            return find_storage(url, self.storage_conn_id)
        from airflow_provider_chatbase.files.directory import open_directory

        return open_directory(url, self.storage_conn_id)

    def _target(self, output: Output, settings: ExportSettings) -> Target:
        from airflow_provider_chatbase.files.delta_storage import DeltaStorage

        tables = self._tables()
        names = None if tables is None else tuple(tables)
        if isinstance(output, DeltaStorage):
            from airflow_provider_chatbase.exports.delta_target import DeltaSettings, DeltaTarget

            extras = {name: getattr(self, name) for name in ("remove_missing", "optimize", "vacuum_days")}
            return DeltaTarget(output, settings, DeltaSettings(names, self.compression or None, **extras))
        from airflow_provider_chatbase.exports.files_target import FileSettings, FilesTarget
        from airflow_provider_chatbase.files.formats import CsvStyle

        style = CsvStyle(self.escape_formulas, self.csv_null, self.csv_bom)
        look = FileSettings(self.file_format, self.compression or None, names, self._partition_by(), style)
        return FilesTarget(output, settings, look)

    def _settings(
        self, hook: ChatbaseHook, agent_id: str, output: Output, context: Context
    ) -> ExportSettings:
        from airflow_provider_chatbase.exports.export import ExportSettings
        from airflow_provider_chatbase.exports.redaction import read_redaction
        from airflow_provider_chatbase.exports.window import ends_now

        window = self._window(hook, agent_id, output, context)
        return ExportSettings(
            kind=self.kind,
            agent_id=agent_id,
            window=window,
            by=self._by(),
            api_version=hook.connection.settings.api_version,
            redaction=read_redaction(self.redact, read_salt(self, context), self.kind),
            concurrency=int(self.concurrency),
            attempt=str(task_identity(context) or ""),
            ends_now=window is not None and ends_now(self.start, self.end, data_interval(context)),
            margin=timedelta(seconds=self.margin),
            **self._selection(),
        )

    def _watermark(self, output: Output) -> datetime | None:
        from airflow_provider_chatbase.files.delta_storage import DeltaStorage

        if isinstance(output, DeltaStorage):
            from airflow_provider_chatbase.exports.delta import read_watermark as read_delta_watermark

            return read_delta_watermark(output, self.kind)
        from airflow_provider_chatbase.exports.manifest import read_watermark

        return read_watermark(output, self._by())

    def _window(self, hook: ChatbaseHook, agent_id: str, output: Output, context: Context) -> Window | None:
        """Choose the window; the present is told by Chatbase's clock, and only asked for where it matters."""
        from airflow.providers.common.compat.sdk import AirflowSkipException

        from airflow_provider_chatbase.client.rate_limiter import shared_limiter
        from airflow_provider_chatbase.exports.reading import first_page
        from airflow_provider_chatbase.exports.window import choose_window, ends_now, in_utc, require_days

        settings, interval = hook.connection.settings, data_interval(context)
        watermark = self._watermark(output)
        by_day, margin = self.whole_days or self._partition_by() is not None, timedelta(seconds=self.margin)
        limiter = shared_limiter(settings, "main")
        if ends_now(self.start, self.end, interval):
            hook.client.send(first_page(self.kind, agent_id, settings.api_version))
        now = limiter.server_now()
        until = export_until(context, now, margin, whole_days=by_day)
        window = choose_window(self.start, self.end, interval, until, watermark, self._first_start())
        if window is None:
            done = in_utc(watermark) if watermark else None
            raise AirflowSkipException(
                f"Earlier runs have exported everything until {done}, and this run is to export until "
                f"{in_utc(until.replace(microsecond=0))}. To export a window again, give start and end."
            )
        if self.end in (None, "") and not ends_now(self.start, self.end, interval):
            settle(window.end, now, margin)
        return require_days(window) if by_day else window

    def _first_start(self) -> Moment | None:
        return self.first_start

    def _partition_by(self) -> str | None:
        return (self.partition_by or None) if self.file_format != "delta" else None

    def _tables(self) -> Sequence[str] | None:
        return None

    def _by(self) -> str:
        return self.by

    def _selection(self) -> dict[str, Any]:
        return {}

    def _result(self, exported: Exported, settings: ExportSettings, output: Output) -> dict[str, Any]:
        from airflow_provider_chatbase.exports.manifest import MANIFESTS
        from airflow_provider_chatbase.exports.window import in_utc

        url = without_connection(output.url)
        tables = dict(exported.tables or {})
        for file in exported.files:
            tables[file.table] = tables.get(file.table, 0) + file.rows
        few = exported.tables is None and len(exported.files) <= FEW
        manifest = exported.manifests[0] if len(exported.manifests) == 1 else MANIFESTS
        return {
            "kind": self.kind,
            "agent_id": settings.agent_id,
            "format": self.file_format,
            "window": exported.window.as_json() if exported.window else None,
            "rows": exported.rows,
            "api_total": exported.api_total,
            "excluded": exported.excluded,
            "bytes": sum(file.size for file in exported.files),
            "tables": tables,
            "file_count": len(exported.files),
            "files": [file.as_json() for file in exported.files] if few else None,
            "watermark": in_utc(exported.watermark) if exported.watermark else None,
            "output_path": url,
            "manifest_path": f"{url}/{manifest}" if exported.tables is None else None,
            "removed": exported.removed,
        }


def in_words(result: Mapping[str, Any]) -> str:
    """Say what an export did, and what it left out."""
    from airflow_provider_chatbase.client.errors import counted

    window = result["window"]
    when = f" from {window['start']} to {window['end']}" if window else ""
    what, more = ("day", " of analytics") if result["kind"] == "analytics" else (result["kind"][:-1], "")
    said = [f"Exported {counted(result['rows'], what)}{more} of agent {result['agent_id']}{when}"]
    if result["api_total"] is None:
        said.append(", of which the API does not say how many there are")
    elif result["api_total"] != result["rows"]:
        said.append(f", of {result['api_total']} that the API counts")
    if result["excluded"]:
        said.append(f"; exclude_user_prefix left out {result['excluded']}")
    place = result["output_path"]
    if result["format"] == "delta":
        removed = f"{counted(result['removed'], 'row')} that Chatbase no longer lists"
        said.append(f": merged into the tables in {place}, from which the run removed {removed}.")
    else:
        size = counted(result["bytes"], "byte")
        said.append(f": {size} in {counted(result['file_count'], 'file')} in {place}.")
    if result["watermark"]:
        said.append(f" The next export without a window of its own begins at {result['watermark']}.")
    return "".join(said)


# -- what an export has to do with the Airflow run that it belongs to


def output_url(output_path: str, agent_id: str, context: Context) -> str:
    """Return the directory of an agent's export; mapped tasks must not write to one."""
    name = quote(agent_id, safe="")
    if PLACEHOLDER in str(output_path):
        return str(output_path).replace(PLACEHOLDER, name)
    map_index = getattr(context.get("ti"), "map_index", -1)
    if output_path and map_index is not None and map_index >= 0:
        return f"{str(output_path).rstrip('/')}/agent_id={name}"
    return output_path


def data_interval(context: Context) -> tuple[datetime | None, datetime | None]:
    """Return the run's data interval."""
    return context.get("data_interval_start"), context.get("data_interval_end")


def export_until(context: Context, now: datetime, margin: timedelta, *, whole_days: bool) -> datetime:
    """
    Return until when to export where no end is given: a scheduled run's moment, else the present.

    Chatbase may show a conversation a moment after it was created, so the present is a margin ago. After a
    midnight that is only just past, the wait is until the day before is settled.
    """
    from airflow_provider_chatbase.exports.window import floor_day

    run_type = str(getattr(context.get("dag_run"), "run_type", "")).rsplit(".", 1)[-1].lower()
    end = context.get("data_interval_end")
    moment = min(end, now) if end is not None and run_type in ("scheduled", "backfill") else now
    if not whole_days:
        return min(moment, now - margin)
    settle(floor_day(moment), now, margin)
    return floor_day(moment)


def settle(end: datetime, now: datetime, margin: timedelta) -> None:
    """Wait until Chatbase shows all that was created before a moment that is just past."""
    seconds = (end + margin - now).total_seconds()
    if end <= now and seconds > 0:
        log.info(
            "The window ended at %s, %.0f seconds ago by Chatbase's clock. Waiting %.0f seconds, since what "
            "was created just before may show a little later.",
            end.astimezone(UTC).isoformat(),
            (now - end).total_seconds(),
            seconds,
        )
        time.sleep(seconds)


def read_salt(operator: Any, context: Context) -> str | None:
    """Return the salt of hashes; it is no template field, since those are shown."""
    from airflow.providers.common.compat.sdk import BaseHook
    from airflow.sdk.log import mask_secret

    salt = operator.redact_salt
    if operator.redact_salt_conn_id:
        salt = BaseHook.get_connection(operator.redact_salt_conn_id).password
    elif isinstance(salt, str) and "{" in salt:
        salt = operator.render_template(salt, context)
    if salt:
        mask_secret(salt)
    return salt or None
