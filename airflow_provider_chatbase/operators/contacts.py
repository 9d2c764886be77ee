"""Keeping an agent's contacts equal to a table of customers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_chatbase.exceptions import wrap
from airflow_provider_chatbase.operators._task import ChatbaseOperator, read_flag

if TYPE_CHECKING:
    from airflow.sdk import Context

MOST_NAMED = 10


class ChatbaseSyncContactsOperator(ChatbaseOperator):
    """
    Makes an agent's contacts as in a table of customers: v1's ``createContacts`` and its siblings.

    It works on a connection of any version. Contacts go by ``external_id``; those without one are left alone.
    Only what differs is written, so a run that was killed is run again and goes on; created are up to 1,000 a
    request, and after a lost reply the contacts are listed before any is sent again. What is empty in the
    table stays as it is. Nothing is deleted where something could not be written.

    Returns ``created``, ``updated``, ``deleted``, ``unchanged``, ``foreign`` and ``dry_run``.

    :param contacts: a list of records, a DataFrame or an Arrow table; or the URL of a file (.csv, .tsv,
        .jsonl, .json, .yaml, .parquet). Columns are ``external_id``, ``name``, ``email``, ``phonenumber`` (or
        ``phone``), ``stripe_accounts``, and the agent's attributes by their names. Another column is refused,
        since Chatbase would drop it without a word.
    :param create_attributes: attributes to create where they are missing: a dict of name to ``text``,
        ``number``, ``boolean`` or ``date``. They can never be deleted.
    :param prune: delete contacts with an ``external_id`` that is not in the table.
    :param max_deletes: how many it may delete: a number, or as a float a share of those that are there. With
        more, nothing is written at all.
    :param allow_empty: an empty table means that all are to go.
    :param dry_run: only count.
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
        self.storage_conn_id = storage_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Sync.

        :param context: the task's context.
        :return: counts.
        :raises ChatbaseSyncError: when some contacts could not be written.
        """
        from airflow_provider_chatbase.sync.contacts import (
            apply_plan,
            attributes_of,
            make_plan,
            read_contacts,
        )
        from airflow_provider_chatbase.sync.errors import ChatbaseSyncError
        from airflow_provider_chatbase.sync.plan import require_max_deletes

        with self.hook() as hook:
            require_max_deletes(self.max_deletes)
            agent_id, only_report = (
                hook.agent_or_default(self.agent_id),
                read_flag("dry_run", self.only_report),
            )
            kinds = hook.client.run(attributes_of(agent_id))
            missing = {
                name: kind for name, kind in (self.create_attributes or {}).items() if name not in kinds
            }
            declared = read_contacts(self._records(), {**kinds, **missing})
            plan = make_plan(
                declared,
                hook.list_contacts(agent_id),
                prune=self.prune,
                max_deletes=self.max_deletes,
                allow_empty=self.allow_empty,
            )
            counts = {**plan.counts, "dry_run": only_report}
            if only_report:
                self.log.info(
                    "%s", wrap(f"Planned only, nothing was sent to contacts of {_told(agent_id, counts)}")
                )
                return counts
            for name, kind in missing.items():
                hook.create_custom_attribute(name, kind, agent_id=agent_id)
            result = hook.client.run(apply_plan(agent_id, plan))
            done = {"created": result.created, "updated": result.updated, "deleted": result.deleted}
            self.log.info("%s", wrap(f"Contacts of {_told(agent_id, {**counts, **done})}"))
            if result.failed:
                shown = "; ".join(result.failed[:MOST_NAMED])
                raise ChatbaseSyncError(
                    f"{len(result.failed)} contacts could not be written, and none was deleted: {shown}. The "
                    "others are done; mend these and run the task again.",
                    mendable=False,
                )
            return {**counts, **done}

    def _records(self) -> Iterable[Any]:
        from airflow_provider_chatbase.files.directory import open_file
        from airflow_provider_chatbase.files.records import read_record_file, rows_of

        if not isinstance(self.contacts, str):
            return rows_of(self.contacts, "contacts")
        directory, name = open_file(self.contacts, self.storage_conn_id, argument="contacts")
        return read_record_file(directory, name, argument="contacts", needed="external_id")


def _told(agent_id: str, counts: dict[str, Any]) -> str:
    return f"agent {agent_id}: {', '.join(f'{n} {name}' for name, n in counts.items() if name != 'dry_run')}."
