"""A sync as a whole: take stock, plan, and do it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from airflow_provider_chatbase.client import ChatbaseClient
from airflow_provider_chatbase.client.rate_limiter import UPLOAD_INTERVAL, UploadPacer
from airflow_provider_chatbase.sync.apply import ADOPTED, PlanRunner, SyncPatience, SyncResult
from airflow_provider_chatbase.sync.inventory import Inventory, LinkRecord, list_all, take_inventory
from airflow_provider_chatbase.sync.plan import SyncOptions, SyncPlan, make_plan, not_live
from airflow_provider_chatbase.sync.report import SyncReport

if TYPE_CHECKING:
    from airflow_provider_chatbase.sync.declaration import Declaration


@dataclass(frozen=True, slots=True)
class SourceSync:
    """Keeps the sources of an agent as declared."""

    client: ChatbaseClient
    agent_id: str
    options: SyncOptions
    record: LinkRecord | None = None  # remembers which links are ours; without it none is deleted
    upload_interval: float = UPLOAD_INTERVAL  # seconds between uploads
    patience: SyncPatience = field(default_factory=SyncPatience)

    def plan(self, declaration: Declaration) -> tuple[SyncPlan, Inventory]:
        """Compare what is declared with what is there; changes nothing."""
        if not self.client.api.has_sources:
            raise self.client.api.unsupported(
                "list an agent's sources, so it cannot keep them in step",
                "Set api_version to v2 in the connection, or replace the whole text with source_text of "
                "ChatbaseUpdateAgentOperator.",
                operation="listSources",
            )
        inventory = take_inventory(self.client.run(list_all(self.agent_id)), self.options.sync_id)
        ours = self.record.read() if self.record is not None else frozenset()
        return make_plan(declaration, inventory, self.options, ours), inventory

    def check(self, declaration: Declaration) -> SyncReport:
        """Report what would be done."""
        return SyncReport(self.agent_id, self.options.sync_id, self.plan(declaration)[0])

    def apply(self, declaration: Declaration) -> SyncReport:
        """Make the agent's sources as declared."""
        plan, inventory = self.plan(declaration)
        pacer = UploadPacer(self.client.settings.api_key, self.upload_interval)
        pacer.note_earlier(inventory.last_upload, time.time())
        self._remember_links_to_come(plan)
        with self._open_upload_client() as uploads:
            runner = PlanRunner(
                self.client, uploads, self.agent_id, self.options.sync_id, pacer, self.patience
            )
            result = runner.run(plan)
        self._forget_links(result)
        return SyncReport(self.agent_id, self.options.sync_id, plan, result)

    def _open_upload_client(self) -> ChatbaseClient:
        """Open a client whose repeated attempts leave as much time between them as uploads have to."""
        wait = 2 * self.upload_interval  # half of a backoff is chance
        policy = replace(self.client.policy, first_wait=wait, longest_backoff=max(wait, 30.0))
        return ChatbaseClient(self.client.settings, policy)

    def _remember_links_to_come(self, plan: SyncPlan) -> None:
        coming = {each.declared.key for each in plan.creates if each.declared.kind == "link"}
        if self.record is not None and coming:
            self.record.write(self.record.read() | coming)

    def _forget_links(self, result: SyncResult) -> None:
        """Forget those deleted, those that another had made, and those that were surely not made."""
        gone = {
            each.key
            for each in result.done
            if each.kind == "link"
            and (
                (each.action == "delete" and each.error is None)
                or (each.action == "create" and each.note == ADOPTED)
                or (each.action == "create" and each.error is not None and not each.in_doubt)
            )
        }
        if self.record is not None and gone:
            self.record.write(self.record.read() - gone)


def ids_to_wait_for(report: SyncReport) -> list[str]:
    """Return the ids of declared sources that are not live: those written, and those not trained before."""
    written = report.result.written_ids if report.result is not None else []
    return list(dict.fromkeys([*written, *not_live(report.plan)]))
