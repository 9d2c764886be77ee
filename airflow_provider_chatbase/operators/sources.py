"""Keeping what an agent knows in step with a folder or a list."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_chatbase.exceptions import wrap
from airflow_provider_chatbase.hooks.task_instance import task_identity
from airflow_provider_chatbase.operators._task import TrainingTask, read_flag

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_chatbase.client import ChatbaseClient
    from airflow_provider_chatbase.sync.declaration import Declaration
    from airflow_provider_chatbase.sync.sync import SourceSync, SyncReport


_DATES = (*("%Y-%m-%dT%H:%M:%S+00:00", "%Y%m%dT%H%M%S"), *("%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%Y_%m_%d"))
"""How a run's date stands in a path, the longest first."""


class ChatbaseSyncSourcesOperator(TrainingTask):
    """
    Makes an agent's sources equal to what is declared: files of a folder, and lists of texts, Q&A, links.

    The name of each source that it makes carries ``sync_id``, the source's key and a hash of its content, so
    the next run knows what has changed without a record: over the same content it sends no write. Sources of
    others are never touched. A failed item does not stop the others; the task fails at its end and names
    each. It may be killed and run again at any point.

    Returns counts and first names, under 2 kB: ``created``, ``updated``, ``deleted``, ``unchanged``,
    ``kept``, ``failed``, ``skipped``, ``foreign``, ``first``, ``failed_training`` (the first that did not
    train, and since when they are there), ``unmatched`` (what declares nothing), and ``source_ids`` of what
    was written (where these are 15 or fewer). The whole report goes to ``report_path``, and line by line
    into the log.

    :param path: URL of a folder. Its .pdf, .doc, .docx and .txt files become file sources, its .md and .html
        files texts (HTML needs the extra ``html``); the key is the path below the folder.
    :param sources: a list of records, a DataFrame, an Arrow table, or the URL of a .jsonl, .csv, .json, .yaml
        or .parquet file of them. A text: ``key``, ``content``. Q&A: ``questions``, ``answer``, ``key``. A
        link: ``url``, ``link_type``, ``exclude_paths``, ``include_only_paths``, ``slow_scraping``.
    :param sync_id: begins the names of all sources of this task, by which it knows them for its own; needed
        with ``prune``. Each task that feeds an agent needs another one.
    :param globs: which files of the folder are meant; ``**`` stands for any folders.
    :param exclude: which are not; what matches a folder excludes all that is in it.
    :param text_suffixes: endings of further files that are texts, such as ``.mdx``, ``.rst``, ``.adoc``.
    :param encoding: of texts, ``.txt`` files and records; by default UTF-8, or UTF-16 with its mark.
    :param delimiter: what stands between the cells of a CSV file; by default a comma.
    :param on_problem: what to do about something declared that cannot be written, such as an empty text or a
        row of too many cells. The others are written, and then the task fails (``fail``), or succeeds and
        says so (``report``). What another try may mend, and deletes withheld as too many, always fail.
    :param prune: delete sources of this ``sync_id`` that are no longer declared.
    :param max_deletes: how many may be deleted: a whole number, or a share from 0.0 to 1.0 of the sources of
        this sync, and of those of each pattern or list. One always may. With more to delete, none is, and the
        task fails.
    :param allow_empty: whether a folder, a pattern or a list of which nothing is left, or with a count as
        ``max_deletes`` less than half, is meant so. Without it, its sources are kept, and the task fails.
    :param take_over: take sources of this ``sync_id`` that another task wrote for this one's own. Without it
        they are not deleted, and with ``prune`` the task fails and names them: two tasks with one ``sync_id``
        would delete each other's. A task that was renamed or moved says so once.
    :param dry_run: only report what would be done.
    :param mode: ``apply``, or ``check`` to change nothing and fail when the sources are not as declared.
    :param on_drift: what ``check`` does then: ``fail``, or ``report`` to return it.
    :param state_path: URL of a small file that remembers which links this task made. Without it, links are
        made and never deleted, since nothing in a link says whose it is.
    :param report_path: URL of a JSON file for the whole report.
    :param storage_conn_id: the Airflow connection of the storage that the URLs are on.
    :param upload_interval: seconds between uploads. An account may make 10 a minute, and refused ones count;
        by default the task makes 9.
    :param busy_timeout: seconds to wait for a source that is being trained before it can be written.
    :param wait_for_training: wait until what was written is trained.
    :param agent_id: the agent; by default the connection's.
    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    template_fields: Sequence[str] = (
        *TrainingTask.template_fields,
        "path",
        "sources",
        "sync_id",
        "globs",
        "exclude",
        "state_path",
        "report_path",
        "storage_conn_id",
        "prune",
        "max_deletes",
        "allow_empty",
        "take_over",
        "mode",
        "on_drift",
        "text_suffixes",
        "encoding",
        "delimiter",
        "on_problem",
        "only_report",
        "upload_interval",
        "busy_timeout",
    )
    flags = (*TrainingTask.flags, "prune", "allow_empty", "take_over")
    numbers = (*TrainingTask.numbers, "max_deletes", "upload_interval", "busy_timeout")
    template_fields_renderers = {"sources": "json"}  # noqa: RUF012

    def __init__(
        self,
        *,
        path: str | None = None,
        sources: Any = None,
        sync_id: str | None = None,
        globs: Sequence[str] | str = "**/*",
        exclude: Sequence[str] | str = (),
        prune: bool = False,
        max_deletes: float = 0.3,
        allow_empty: bool = False,
        take_over: bool = False,
        dry_run: bool = False,
        mode: Literal["apply", "check"] = "apply",
        on_drift: Literal["fail", "report"] = "fail",
        text_suffixes: Sequence[str] | str = (),
        encoding: str | None = None,
        delimiter: str | None = None,
        on_problem: Literal["fail", "report"] = "fail",
        state_path: str | None = None,
        report_path: str | None = None,
        storage_conn_id: str | None = None,
        upload_interval: float | None = None,
        busy_timeout: float = 900.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.sources = sources
        self.sync_id = sync_id
        self.globs = globs
        self.exclude = exclude
        self.prune = prune
        self.max_deletes = max_deletes
        self.allow_empty = allow_empty
        self.take_over = take_over
        self.only_report = dry_run
        self.mode = mode
        self.on_drift = on_drift
        self.text_suffixes = text_suffixes
        self.encoding = encoding
        self.delimiter = delimiter
        self.on_problem = on_problem
        self.state_path = state_path
        self.report_path = report_path
        self.storage_conn_id = storage_conn_id
        self.upload_interval = upload_interval
        self.busy_timeout = busy_timeout
        self._running: SourceSync | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Sync, or say what would be done.

        :param context: the task's context.
        :return: counts and first names.
        :raises ChatbaseSyncError: when something could not be written, or was not allowed to be.
        :raises ChatbaseDriftError: when a check finds that the sources are not as declared.
        """
        with self.hook() as hook:
            self._check_arguments()
            agent_id = hook.agent_or_default(self.agent_id)
            declaration = self._declaration()
            sync = self._running = self._sync(hook.client, agent_id, self._task_mark(context))
            changes_nothing = self.only_report or self.mode == "check"
            report = sync.check(declaration) if changes_nothing else sync.apply(declaration)
            self._show(report)
            if changes_nothing:
                self._judge_drift(report)
                return report.summary()
            self._judge(report)
            waited_for = report.ids_to_wait_for()
            if not self.wait_for_training or not waited_for:
                return report.summary()
            result = self.await_training(hook.client, agent_id, waited_for, report.summary())
            self.log.info("%s", wrap(f"{report.in_words()} All of it is trained."))
            return result

    def on_kill(self) -> None:
        """Write no more sources; what is written stays."""
        if self._running is not None:
            self._running.ending.set()

    def _check_arguments(self) -> None:
        from airflow_provider_chatbase.client.errors import ChatbaseInputError
        from airflow_provider_chatbase.sync.payloads import require_sync_id
        from airflow_provider_chatbase.sync.report import require_max_deletes

        self.only_report = self.only_report is not None and read_flag("dry_run", self.only_report)
        require_sync_id(self._sync_id())
        if self.prune and not self.sync_id:
            raise ChatbaseInputError(
                "prune needs a sync_id of this task alone: it deletes the sources that carry it and are not "
                "declared. Nothing was sent."
            )
        if self.path is None and self.sources is None:
            raise ChatbaseInputError("Give path or sources: nothing is declared. Nothing was sent.")
        if self.path is not None and not self.globs:
            raise ChatbaseInputError("globs names no files, so path declares nothing. Nothing was sent.")
        if self.path == "":  # such as a template of a variable that is not there
            raise ChatbaseInputError(
                "path is empty, and what it declared before would be taken for gone. Give a folder, or leave "
                "path out. Nothing was sent."
            )
        if self.mode not in ("apply", "check"):
            raise ChatbaseInputError(f"mode must be apply or check, not {self.mode!r}. Nothing was sent.")
        for name, value in (("on_drift", self.on_drift), ("on_problem", self.on_problem)):
            if value not in ("fail", "report"):
                raise ChatbaseInputError(f"{name} must be fail or report, not {value!r}. Nothing was sent.")
        for name in ("globs", "exclude", "text_suffixes"):
            value = getattr(self, name)
            texts = [value] if isinstance(value, str) else value
            if not isinstance(texts, list | tuple) or not all(
                isinstance(text, str) and text for text in texts
            ):
                raise ChatbaseInputError(f"{name} must be a list of texts, not {value!r}. Nothing was sent.")
        require_max_deletes(self.max_deletes)
        if self.upload_interval is not None and not self.upload_interval >= 0:
            raise ChatbaseInputError(f"upload_interval must be seconds from 0, not {self.upload_interval!r}.")
        if self.busy_timeout is None or not self.busy_timeout >= 0:
            raise ChatbaseInputError(f"busy_timeout must be seconds from 0, not {self.busy_timeout!r}.")

    def _sync_id(self) -> str:
        return self.sync_id or "airflow"

    def _declaration(self) -> Declaration:
        from airflow_provider_chatbase.files.directory import open_directory, open_file
        from airflow_provider_chatbase.files.records import read_record_file, rows_of
        from airflow_provider_chatbase.sync.declaration import combine, read_folder, read_records

        parts = []
        if self.path:
            parts.append(
                read_folder(
                    open_directory(self.path, self.storage_conn_id, argument="path"),
                    _texts(self.globs),
                    _texts(self.exclude),
                    text_suffixes=_texts(self.text_suffixes),
                    encoding=self.encoding or None,
                )
            )
        if isinstance(self.sources, str):
            directory, name = open_file(self.sources, self.storage_conn_id, argument="sources")
            parts.append(
                read_records(
                    read_record_file(
                        directory,
                        name,
                        argument="sources",
                        encoding=self.encoding or None,
                        delimiter=self.delimiter or None,
                    )
                )
            )
        elif self.sources is not None:
            parts.append(read_records(rows_of(self.sources, "sources")))
        return combine(parts)

    def _task_mark(self, context: Context) -> str:
        """Tell this task from others that write, in each of its runs alike."""
        from airflow_provider_chatbase.sync.payloads import task_mark

        identity = task_identity(context)
        if identity is None:
            return ""
        mapped = identity.map_index >= 0  # over agents, or over what each of them is to hold
        inputs = [str(self.path), self.sources if isinstance(self.sources, str) else ""] if mapped else []
        return task_mark(identity.dag_id, identity.task_id, *(_undated(each, context) for each in inputs))

    def _sync(self, client: ChatbaseClient, agent_id: str, task: str) -> SourceSync:
        from airflow_provider_chatbase.client.rate_limiter import UPLOAD_INTERVAL
        from airflow_provider_chatbase.files.directory import open_file
        from airflow_provider_chatbase.sync.apply import SyncPatience
        from airflow_provider_chatbase.sync.inventory import LinkRecord
        from airflow_provider_chatbase.sync.plan import SyncOptions
        from airflow_provider_chatbase.sync.sync import SourceSync

        record = None
        if self.state_path:
            directory, name = open_file(self.state_path, self.storage_conn_id, argument="state_path")
            record = LinkRecord(directory, name, agent_id, self._sync_id())
        return SourceSync(
            client,
            agent_id,
            SyncOptions(
                self._sync_id(),
                prune=self.prune,
                max_deletes=self.max_deletes,
                allow_empty=self.allow_empty,
                task=task,
                take_over=self.take_over,
            ),
            record,
            UPLOAD_INTERVAL if self.upload_interval is None else self.upload_interval,
            SyncPatience(busy=self.busy_timeout, poll=min(self.poll_interval, 5.0)),
        )

    def _show(self, report: SyncReport) -> None:
        from airflow_provider_chatbase.files.directory import open_file
        from airflow_provider_chatbase.sync.report import named

        self.log.info(report.as_text())
        failed = report.plan.failed_training
        if failed:
            self.log.warning(
                "%d of the declared sources failed to train, so the agent does not know them: %s. Change "
                "what they hold, or look at them in Chatbase.",
                len(failed),
                named(each.key for each in failed),
            )
        if self.report_path:
            directory, name = open_file(self.report_path, self.storage_conn_id, argument="report_path")
            directory.write_json(name, report.as_json())
        self.log.info("%s", wrap(report.in_words()))

    def _judge(self, report: SyncReport) -> None:
        from airflow_provider_chatbase.sync.errors import ChatbaseSyncError

        failures = report.failures()
        if failures and (self.on_problem == "fail" or not report.only_problems):
            raise ChatbaseSyncError(
                f"The sources of agent {report.agent_id} are not all as declared. {failures}.",
                mendable=report.mendable,
            )

    def _judge_drift(self, report: SyncReport) -> None:
        from airflow_provider_chatbase.sync.errors import ChatbaseDriftError

        if self.mode == "check" and self.on_drift == "fail" and not report.plan.in_step:
            counts = ", ".join(
                f"{len(entries)} to {name}" if name != "failed" else f"{len(entries)} cannot be written"
                for name, entries in report.sections().items()
                if entries and name in ("create", "update", "delete", "failed")
            )
            raise ChatbaseDriftError(
                f"The sources of agent {report.agent_id} are not as declared: "
                f"{counts or report.plan.withheld}. The log names them."
            )


def _undated(path: str, context: Context) -> str:
    """Leave out of a path what tells the runs apart, and not the mapped instances of one run."""
    run: Any = context.get("dag_run")
    names = ("logical_date", "data_interval_start", "data_interval_end", "run_after")
    moments = {at.astimezone(UTC) for name in names if (at := getattr(run, name, None)) is not None}
    told = [str(getattr(run, "run_id", ""))]
    told += [at.strftime(form) for form in _DATES for at in sorted(moments)]
    for each in filter(None, told):
        path = path.replace(each, "")
    return path


def _texts(given: Sequence[str] | str) -> list[str]:
    return [given] if isinstance(given, str) else list(given)
