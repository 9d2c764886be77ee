"""Landing conversations, leads, contacts, tickets and what is counted, in files and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_chatbase.operators._task import ChatbaseOperator, read_flag
from airflow_provider_chatbase.operators._written import without_connection
from airflow_provider_chatbase.operators.export_base import ExportOperator, read_salt

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_chatbase.exports.window import Moment, Window
    from airflow_provider_chatbase.files.delta_storage import DeltaStorage
    from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook
    from airflow_provider_chatbase.operators.export_base import Output


class ChatbaseExportConversationsOperator(ExportOperator):
    """
    Exports an agent's conversations of every channel: ``exportConversations``, or v1's ``getConversations``.

    The window is half-open and in UTC: created at or after its start and before its end. It is the one that
    is given, else the run's data interval, else since the watermark that the last export left at
    ``output_path``. Files come first and their manifest last; what it lists is whole. A rerun of a
    window replaces its files and writes the same bytes; a retry goes on from the parts that were read. The
    task fails when fewer conversations arrive than the API counts; then what was there is still there.

    Returns counts and places (``rows``, ``bytes``, ``tables``, ``api_total``, ``window``, ``watermark``,
    ``output_path``, ``manifest_path``, …), and ``files`` where they are at most three; never the rows.

    :param tables: for csv and parquet: ``conversations``, ``messages``, ``tool_calls``; by default all.
    :param lookback: how many days before the window to read again, since conversations go on after they were
        exported; a number of days or a timedelta. Their partitions are replaced.
    :param strategy: ``created`` (the default), ``lookback``, or ``changed_since``: find by search what
        changed in the window, and export those conversations whole; merge by id, the newest ``updated_at``
        wins.
    :param channels: only these, by the API's exact names, such as ``Widget or Iframe``.
    :param include: ``messages``, or ``summary`` to leave the messages out.
    :param conversation_id: export only this conversation, whenever it was created.
    :param exclude_user_prefix: leave out conversations whose user id begins with this.
    """

    template_fields: Sequence[str] = (
        *ExportOperator.template_fields,
        "tables",
        "lookback",
        "strategy",
        "channels",
        "include",
        "conversation_id",
        "exclude_user_prefix",
    )

    kind = "conversations"

    def __init__(
        self,
        *,
        tables: Sequence[str] | None = None,
        lookback: int | timedelta | None = None,
        strategy: Literal["created", "lookback", "changed_since"] | None = None,
        channels: Sequence[str] | None = None,
        include: Literal["messages", "summary"] = "messages",
        conversation_id: str | None = None,
        exclude_user_prefix: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tables = tables
        self.lookback = lookback
        self.strategy = strategy
        self.channels = channels
        self.include = include
        self.conversation_id = conversation_id
        self.exclude_user_prefix = exclude_user_prefix

    def _check(self) -> None:
        from airflow_provider_chatbase.client.errors import ChatbaseInputError
        from airflow_provider_chatbase.exports.reading import check_channels

        super()._check()
        if self.strategy not in (None, "", "created", "lookback", "changed_since"):
            raise ChatbaseInputError(
                f"strategy must be 'created', 'lookback' or 'changed_since', not {self.strategy!r}."
            )
        if self.strategy == "lookback" and self._lookback() is None:
            raise ChatbaseInputError("strategy='lookback' needs lookback, a number of days.")
        if self.strategy in ("created", "changed_since") and self._lookback() is not None:
            raise ChatbaseInputError(f"lookback does not go with strategy={self.strategy!r}.")
        _require_include(self.include)
        check_channels(self.channels)
        for name in ("exclude_user_prefix", "conversation_id"):
            if not isinstance(value := getattr(self, name), str | None):
                raise ChatbaseInputError(f"{name} must be a text, not {value!r}.")

    def _lookback(self) -> timedelta | None:
        from airflow_provider_chatbase.client.errors import ChatbaseInputError

        if self.lookback in (None, ""):
            return None
        try:
            days = None if isinstance(self.lookback, timedelta | bool) else int(str(self.lookback))
            back = self.lookback if days is None else timedelta(days=days)
        except (ValueError, OverflowError):
            back = None
        if not isinstance(back, timedelta) or back < timedelta():
            raise ChatbaseInputError(
                f"lookback must be a number of days or a timedelta, not {self.lookback!r}."
            )
        return back

    def _window(self, hook: ChatbaseHook, agent_id: str, output: Output, context: Context) -> Window | None:
        from airflow_provider_chatbase.exports.window import look_back

        if self.conversation_id:
            return None
        window, back = super()._window(hook, agent_id, output, context), self._lookback()
        return look_back(window, back) if window is not None and back is not None else window

    def _partition_by(self) -> str | None:
        if self._lookback() is not None and self.file_format != "delta":
            return "day"
        return super()._partition_by()

    def _tables(self) -> Sequence[str] | None:
        return self.tables

    def _by(self) -> str:
        if self.conversation_id:
            return "conversation"
        return "updated" if self.strategy == "changed_since" else "created"

    def _selection(self) -> dict[str, Any]:
        return {
            "conversation_id": self.conversation_id or None,
            "channels": tuple(self.channels or ()),
            "summary": self.include == "summary",
            "exclude_user_prefix": self.exclude_user_prefix or None,
        }


class ChatbaseExportLeadsOperator(ExportOperator):
    """
    Exports the leads that an agent collected: v1's ``getLeads``, on a connection of any version.

    The window is over their creation; it is chosen like that of conversations, and the files, the manifest
    and the watermark are the same. The API does not say how many leads there are, so pages are read until
    one brings nothing new.
    """

    kind = "leads"


class ChatbaseExportContactsOperator(ExportOperator):
    """
    Exports an agent's contacts: v1's ``listContacts``, on a connection of any version.

    The API lists all of them; the window picks those that were last changed in it. Without any window or
    watermark, all of them. Merge by ``contact_id``; the newest ``updated_at`` wins.
    """

    kind = "contacts"
    by = "updated"

    def _first_start(self) -> Moment | None:
        return self.first_start or "1970-01-01"


class ChatbaseExportTicketsOperator(ExportOperator):
    """
    Exports the tickets of an agent's help desk with their messages: ``listTickets``, ``listTicketMessages``.

    The window is over their last change, so that a ticket is exported again when something happens in it.
    Without any window or watermark, all of them. The API cannot filter by that: all tickets are listed, 100
    a request, and those of the window are read whole. Merge by ``ticket_number``; the newest ``updated_at``
    wins, and in Delta tables it does by itself. The task fails when fewer arrive than the API counts.

    Whoever has the URL of an attachment can open it: ``redact={"attachments": "drop"}`` leaves them out.

    :param tables: for csv, parquet and delta: ``tickets``, ``ticket_messages``; by default both.
    :param include: ``messages`` (replies, notes and events), or ``summary`` to leave them out.
    """

    template_fields: Sequence[str] = (*ExportOperator.template_fields, "tables", "include")

    kind = "tickets"
    by = "updated"

    def __init__(
        self,
        *,
        tables: Sequence[str] | None = None,
        include: Literal["messages", "summary"] = "messages",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tables = tables
        self.include = include

    def _check(self) -> None:
        super()._check()
        _require_include(self.include)

    def _first_start(self) -> Moment | None:
        return self.first_start or "1970-01-01"

    def _tables(self) -> Sequence[str] | None:
        return self.tables

    def _selection(self) -> dict[str, Any]:
        return {"summary": self.include == "summary"}


class ChatbaseAnalyticsOperator(ExportOperator):
    """
    Exports what Chatbase counts of an agent, a row a day (UTC), and its credits: ``getAgentAnalytics``.

    Seven whole days a request, which are the API's seven buckets; the first run goes back to the first day
    that Chatbase counts, at most twelve months. Each day replaces what was known of it, in Delta tables as in
    files, which are partitioned by day. The window ends with the last whole day.

    No document shows the names in the answer. So ``counts``, and the table ``analytics_counts``, have every
    number of a day by the path at which it stands, such as ``buckets.conversations``; ``credits`` is the sum
    of those whose path says so, 0 on a day without, and null where the answer has none. Conversations count
    on the day of their last activity, so the numbers differ from a count of exported conversations.

    :param tables: for csv, parquet and delta: ``analytics``, ``analytics_counts``; by default both.
    :param lookback: how many days before the window to read again, unless ``start`` is given: a conversation
        that goes on moves to a later day.
    """

    numbers: ClassVar[Sequence[str]] = (*ExportOperator.numbers, "lookback")
    template_fields: Sequence[str] = (*ExportOperator.template_fields, "tables", "lookback")

    kind = "analytics"
    whole_days = True

    def __init__(
        self, *, tables: Sequence[str] | None = None, lookback: int | str = 7, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.tables = tables
        self.lookback = lookback

    def _window(self, hook: ChatbaseHook, agent_id: str, output: Output, context: Context) -> Window | None:
        from airflow_provider_chatbase.exports.analytics import kept_days

        window = super()._window(hook, agent_id, output, context)
        back = timedelta(days=int(self.lookback)) if self.start in (None, "") else timedelta()
        return kept_days(window, back) if window is not None else None

    def _first_start(self) -> Moment | None:
        from airflow_provider_chatbase.exports.analytics import oldest

        return self.first_start or oldest(datetime.now(UTC))

    def _partition_by(self) -> str | None:
        return "day" if self.file_format != "delta" else None

    def _tables(self) -> Sequence[str] | None:
        return self.tables


class ChatbaseEraseConversationsOperator(ChatbaseOperator):
    """
    Takes the rows of users or conversations out of earlier exports, and on request out of Chatbase itself.

    It works on a directory that :class:`ChatbaseExportConversationsOperator` wrote, of any format. Files
    without such rows stay as they are, byte by byte. What is staged there is removed too. From Delta tables
    the rows are deleted, and then every file that no longer counts is removed, with no retention: older
    versions cannot be read any more. An export that is run again later brings back what is still at Chatbase,
    so delete it there too, with ``at_source=True``.

    Returns ``conversations``, ``rows`` by table, ``files_changed``, ``files_checked``, ``staged_attempts``,
    ``deleted_at_source`` and ``dry_run``.

    :param output_path: URL of the directory.
    :param user_ids: erase the conversations of these users.
    :param conversation_ids: erase these conversations.
    :param redact_salt: the salt of the exports, where they hash the users' ids; as of the exports.
    :param redact_salt_conn_id: an Airflow connection whose password is the salt, in its place.
    :param at_source: first delete the conversations at Chatbase, for good; of users also those that search
        finds and that were not exported. Needs API v2.
    :param max_deletes: how many conversations may be deleted at Chatbase; more is refused.
    :param dry_run: only count.
    :param storage_conn_id: the storage's Airflow connection; it may stand in the URL too.
    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``, for ``at_source``.
    """

    flags: ClassVar[Sequence[str]] = ("at_source",)
    numbers: ClassVar[Sequence[str]] = ("max_deletes",)
    template_fields: Sequence[str] = (
        "output_path",
        "user_ids",
        "conversation_ids",
        "redact_salt_conn_id",
        "storage_conn_id",
        "chatbase_conn_id",
        *flags,
        *numbers,
    )

    def __init__(
        self,
        *,
        output_path: str,
        user_ids: Sequence[str] | None = None,
        conversation_ids: Sequence[str] | None = None,
        redact_salt: str | None = None,
        redact_salt_conn_id: str | None = None,
        at_source: bool = False,
        max_deletes: int = 100,
        dry_run: bool = False,
        storage_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.output_path = output_path
        self.user_ids = user_ids
        self.conversation_ids = conversation_ids
        self.redact_salt = redact_salt
        self.redact_salt_conn_id = redact_salt_conn_id
        self.at_source = at_source
        self.max_deletes = max_deletes
        self.only_report = dry_run
        self.storage_conn_id = storage_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Erase.

        :param context: the task's context.
        :return: the report.
        """
        with self.hook() as hook:
            from airflow_provider_chatbase.client.errors import counted
            from airflow_provider_chatbase.exports.erasure import AtSource, erase
            from airflow_provider_chatbase.files.directory import open_directory

            dry_run = read_flag("dry_run", self.only_report)
            whom = _names(self.user_ids), _names(self.conversation_ids), read_salt(self, context)
            at_source = AtSource(hook.client, int(self.max_deletes)) if self.at_source else None
            if (tables := self._delta_tables()) is not None:
                from airflow_provider_chatbase.exports.delta import erase as erase_from_tables

                report = asdict(erase_from_tables(tables, *whom, dry_run, at_source))
            else:
                directory = open_directory(self.output_path, self.storage_conn_id)
                report = asdict(erase(directory, *whom, dry_run, at_source))
        self.log.info(
            "%s %s: %s of the %s in %s, what %s had staged there, and %s.",
            "Would erase" if dry_run else "Erased",
            counted(report["conversations"], "conversation"),
            counted(sum(report["rows"].values()), "row"),
            counted(report["files_checked"], "file"),
            without_connection(self.output_path),
            counted(report["staged_attempts"], "attempt"),
            f"{report['deleted_at_source']} at Chatbase"
            if self.at_source
            else "nothing at Chatbase: a later export brings back what is still there",
        )
        return {**report, "dry_run": dry_run}

    def _delta_tables(self) -> DeltaStorage | None:
        """Return the place of Delta tables, where there are any."""
        from airflow_provider_chatbase.client.errors import ChatbaseInputError
        from airflow_provider_chatbase.files.delta_storage import find_storage

        try:
            from airflow_provider_chatbase.exports.delta_table import has_log

            tables = find_storage(self.output_path, self.storage_conn_id)
        except ChatbaseInputError:  # deltalake is not installed, or cannot go there
            return None
        return tables if has_log(tables, "conversations") else None


def _require_include(include: str) -> None:
    from airflow_provider_chatbase.client.errors import ChatbaseInputError

    if include not in ("messages", "summary"):
        raise ChatbaseInputError(f"include must be 'messages' or 'summary', not {include!r}.")


def _names(value: Sequence[str] | None) -> list[str]:
    """Return ids as texts; what is none, such as a null from upstream, would find nobody and be green."""
    from airflow_provider_chatbase.client.errors import ChatbaseInputError

    names = [value] if isinstance(value, str) and value else list(value or ())
    for name in names:
        if isinstance(name, bool) or not isinstance(name, str | int):
            raise ChatbaseInputError(
                f"One of user_ids or conversation_ids is {name!r}, which is no id. Nothing was erased."
            )
    return [str(name) for name in names]
