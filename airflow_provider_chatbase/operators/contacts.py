"""Keeping an agent's contacts equal to a table of customers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_chatbase.exceptions import wrap
from airflow_provider_chatbase.operators._task import ChatbaseOperator, read_flag

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_chatbase.sync.contacts import ContactReport


class ChatbaseSyncContactsOperator(ChatbaseOperator):
    """
    Makes an agent's contacts as in a table of customers: v1's ``createContacts`` and its siblings.

    It works on a connection of any version. Contacts go by ``external_id``; those without one are left alone.
    Only what differs is written, so a run that was killed is run again and goes on; created are up to 1,000 a
    request, and after a lost reply the contacts are listed before any is sent again. Of two with the same
    ``external_id``, as two runs at once make them, the older stays where they say the same. What is empty in
    the table stays as it is. Nothing is deleted where something could not be written.

    Returns ``created``, ``updated``, ``deleted``, ``unchanged``, ``foreign`` and ``dry_run``.

    :param contacts: a list of records, a DataFrame or an Arrow table; or the URL of a file (.csv, .tsv,
        .jsonl, .json, .yaml, .parquet). Columns are ``external_id``, ``name``, ``email``, ``phonenumber`` (or
        ``phone``), ``stripe_accounts``, and the agent's attributes by their names. Another column is refused,
        since Chatbase would drop it without a word.
    :param create_attributes: attributes to create where they are missing: a dict of name to ``text``,
        ``number``, ``boolean`` or ``date``. They can never be deleted. One that is there with another type is
        refused, since that cannot be changed.
    :param prune: delete contacts with an ``external_id`` that is not in the table.
    :param max_deletes: how many it may delete: a number, or as a float a share of those that are there. With
        more, nothing is written at all.
    :param allow_empty: an empty table means that all are to go.
    :param dry_run: only report what would be done.
    :param report_path: URL of a JSON file for the whole report; the log has it line by line.
    :param storage_conn_id: the Airflow connection of the storage that the file is on.
    :param agent_id: the agent; by default the connection's.
    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    flags: ClassVar[Sequence[str]] = ("prune", "allow_empty")
    numbers: ClassVar[Sequence[str]] = ("max_deletes",)
    template_fields: Sequence[str] = (
        *ChatbaseOperator.template_fields,
        "contacts",
        "create_attributes",
        "report_path",
        "only_report",
        "storage_conn_id",
        *flags,
        *numbers,
    )
    template_fields_renderers = {"contacts": "json"}  # noqa: RUF012

    def __init__(
        self,
        *,
        contacts: Any,
        create_attributes: dict[str, str] | None = None,
        prune: bool = False,
        max_deletes: float = 0.3,
        allow_empty: bool = False,
        dry_run: bool = False,
        report_path: str | None = None,
        storage_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.contacts = contacts
        self.create_attributes = create_attributes
        self.prune = prune
        self.max_deletes = max_deletes
        self.allow_empty = allow_empty
        self.only_report = dry_run
        self.report_path = report_path
        self.storage_conn_id = storage_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Sync.

        :param context: the task's context.
        :return: counts.
        :raises ChatbaseSyncError: when some contacts could not be written.
        """
        with self.hook() as hook:
            from airflow_provider_chatbase.sync.contacts import (
                ContactReport,
                apply_plan,
                attributes_of,
                contacts_of,
                create_attributes,
                make_plan,
                missing_attributes,
                read_contacts,
            )
            from airflow_provider_chatbase.sync.report import require_max_deletes

            require_max_deletes(self.max_deletes)
            agent_id, only_report = (
                hook.agent_or_default(self.agent_id),
                read_flag("dry_run", self.only_report),
            )
            kinds = hook.client.run(attributes_of(agent_id))
            missing = missing_attributes(self.create_attributes or {}, kinds)
            declared = read_contacts(self._records(), {**kinds, **missing})
            plan = make_plan(
                declared,
                hook.client.run(contacts_of(agent_id)),
                prune=self.prune,
                max_deletes=self.max_deletes,
                allow_empty=self.allow_empty,
            )
            if only_report:
                return self._show(ContactReport(agent_id, plan))
            hook.client.run(create_attributes(agent_id, missing))
            result = hook.client.run(apply_plan(agent_id, plan))
            return self._show(ContactReport(agent_id, plan, result))

    def _show(self, report: ContactReport) -> dict[str, Any]:
        from airflow_provider_chatbase.files.directory import open_file
        from airflow_provider_chatbase.sync.errors import ChatbaseSyncError

        self.log.info(report.as_text())
        if self.report_path:
            directory, name = open_file(self.report_path, self.storage_conn_id, argument="report_path")
            directory.write_json(name, report.as_json())
        self.log.info("%s", wrap(report.in_words()))
        if report.outcome is not None and report.outcome.failed:
            count, failed = len(report.outcome.failed), report.outcome.failed
            raise ChatbaseSyncError(
                f"{count} contacts could not be written, and none was deleted: {report.failures()}. The "
                "others are done; mend these and run the task again.",
                mendable=any(each.mendable for each in failed),
            )
        return report.summary()

    def _records(self) -> Iterable[Any]:
        from airflow_provider_chatbase.files.directory import open_file
        from airflow_provider_chatbase.files.records import read_record_file, rows_of

        if not isinstance(self.contacts, str):
            return rows_of(self.contacts, "contacts")
        directory, name = open_file(self.contacts, self.storage_conn_id, argument="contacts")
        return read_record_file(directory, name, argument="contacts", needed="external_id")
