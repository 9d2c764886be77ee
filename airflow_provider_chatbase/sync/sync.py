"""A sync as a whole: take stock, plan, do it, and tell what was done."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from threading import Event
from typing import TYPE_CHECKING, ClassVar

from airflow_provider_chatbase.client import ChatbaseClient
from airflow_provider_chatbase.client.rate_limiter import UPLOAD_INTERVAL, UploadPacer
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.sync.apply import ADOPTED, PlanRunner, SyncPatience
from airflow_provider_chatbase.sync.inventory import TRAINING, Inventory, LinkRecord, list_all, take_inventory
from airflow_provider_chatbase.sync.plan import SyncOptions, SyncPlan, make_plan
from airflow_provider_chatbase.sync.report import (
    MOST_IDS,
    MOST_NAMES,
    NAME_ROOM,
    TEXT_ROOM,
    ChangeReport,
    Entries,
    SyncResult,
    named,
    one_line,
    shortened,
)

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
    ending: Event = field(default_factory=Event)  # set from a signal handler or any thread: write no more

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
        return SyncReport(self.agent_id, self.options, self.plan(declaration)[0])

    def apply(self, declaration: Declaration) -> SyncReport:
        """Make the agent's sources as declared."""
        began = self.patience.clock()
        plan, inventory = self.plan(declaration)
        pacer = UploadPacer(self.client.settings.api_key, self.upload_interval)
        pacer.note_earlier(inventory.last_upload, time.time())
        new_links = self._remember_links_to_come(plan)
        wait = (
            2 * self.upload_interval
        )  # what is tried again leaves as much time; half of a backoff is chance
        policy = replace(self.client.policy, first_wait=wait, longest_backoff=max(wait, 30.0))
        with ChatbaseClient(self.client.settings, policy) as uploads:
            runner = PlanRunner(
                self.client,
                uploads,
                self.agent_id,
                self.options.sync_id,
                pacer,
                self.patience,
                task=self.options.task,
                listed_at=began,
                ending=self.ending,
            )
            result = runner.run(plan)
        self._forget_links(result, new_links)
        return SyncReport(self.agent_id, self.options, plan, result)

    def _remember_links_to_come(self, plan: SyncPlan) -> frozenset[str]:
        coming = frozenset(each.declared.key for each in plan.creates if each.declared.kind == "link")
        if self.record is None or not coming:
            return frozenset()
        known = self.record.read()
        self.record.write(known | coming)
        return coming - known

    def _forget_links(self, result: SyncResult, new: frozenset[str]) -> None:
        """Forget those deleted, those that another had made, and those that were surely not made."""
        gone = {
            each.key
            for each in result.done
            if each.kind == "link"
            and (
                (each.action == "delete" and each.error is None)
                or (each.key in new and each.note == ADOPTED)
                or (each.key in new and each.error is not None and not each.in_doubt)
            )
        }
        if self.record is not None and gone:
            self.record.write(self.record.read() - gone)


@dataclass(frozen=True, slots=True)
class SyncReport(ChangeReport):
    """What a sync of sources did, or would do."""

    noun: ClassVar[str] = "sources"

    options: SyncOptions
    plan: SyncPlan
    outcome: SyncResult | None = None

    @property
    def foreign(self) -> int:
        """How many sources belong to somebody else."""
        return self.plan.foreign

    def whose(self) -> str:
        """Say whose they are."""
        return f"sources of agent {self.agent_id}, sync_id {self.options.sync_id}"

    def remarks(self) -> list[str]:
        """Say what is left out, and what declares nothing."""
        skipped, unmatched = self.plan.skipped, self.plan.unmatched
        names = named(f"{one_line(key, 80)} ({why})" for key, why in skipped)
        return [
            *([f"Skipped: {names}"] if skipped else []),
            *([f"Nothing is declared by: {named(unmatched)}"] if unmatched else []),
        ]

    def sections(self) -> dict[str, Entries]:
        """Return names and reasons by what became of them."""
        plan, result = self.plan, self.outcome
        problems = [(problem.key, problem.reason) for problem in plan.problems]
        kept = list(plan.kept)
        if result is None:
            written: dict[str, Entries] = {
                "create": [(each.declared.key, each.declared.kind) for each in plan.creates],
                "update": [(each.declared.key, each.reason) for each in plan.updates],
                "delete": [(each.existing.key, each.reason) for each in plan.deletes],
                "failed": problems,
            }
        else:
            written = {
                "created": [(each.key, each.note or each.kind) for each in result.of("create")],
                "updated": [(each.key, each.note) for each in result.of("update")],
                "deleted": [(each.key, each.note) for each in result.of("delete")],
                "failed": [*problems, *((each.key, each.error or "") for each in result.failed)],
            }
            if result.withheld:
                kept += [each.existing for each in plan.deletes if each.pruned]
        return {
            **written,
            "unchanged": [(each.key, "") for each in plan.unchanged],
            "kept": [(each.key, "no longer declared; prune is off or withheld") for each in kept],
            "skipped": list(plan.skipped),
            "failed_training": [(each.key, f"since {each.created_at}") for each in plan.failed_training],
        }

    def as_json(self) -> JsonObject:
        """Return everything, for a file."""
        return {
            **self._facts(),
            **{
                name: [{"key": key, "note": note} for key, note in entries]
                for name, entries in self.sections().items()
            },
            "failed_training": self._failed_training(),
            "withheld": self.withheld,
            "stopped": self.outcome.stopped if self.outcome is not None else "",
            "source_ids": self.outcome.written_ids if self.outcome is not None else [],
        }

    def summary(self) -> JsonObject:
        """Return counts and the first names, under 2 kB, for XCom."""
        sections = self.sections()
        failed_training = self._failed_training()[:MOST_NAMES]
        summary: JsonObject = {
            **self._facts(),
            "in_step": self.plan.in_step,
            **{name: len(entries) for name, entries in sections.items()},
            "failed_training": [
                {**each, "key": shortened(each["key"], NAME_ROOM)} for each in failed_training
            ],
            "unmatched": [shortened(name, NAME_ROOM) for name in self.plan.unmatched[:MOST_NAMES]],
            "first": {
                name: [shortened(key, NAME_ROOM) for key, _ in entries[:MOST_NAMES]]
                for name, entries in sections.items()
                if entries and name not in ("unchanged", "kept", "failed_training")
            },
        }
        if self.withheld:
            summary["withheld"] = shortened(self.withheld, TEXT_ROOM)
        if self.outcome is not None and len(self.outcome.written_ids) <= MOST_IDS:
            summary["source_ids"] = self.outcome.written_ids
        return summary

    def _facts(self) -> JsonObject:
        return {
            "agent_id": self.agent_id,
            "sync_id": self.options.sync_id,
            "dry_run": self.outcome is None,
            "foreign": self.plan.foreign,
            "unmatched": list(self.plan.unmatched),
        }

    def _failed_training(self) -> list[JsonObject]:
        return [{"key": each.key, "since": each.created_at} for each in self.plan.failed_training]

    @property
    def withheld(self) -> str:
        """Why deletes that were asked for were not done; empty if they were."""
        return self.plan.withheld or (self.outcome.withheld if self.outcome is not None else "")

    @property
    def mendable(self) -> bool:
        """Whether another run may mend what failed, without anybody changing something."""
        failed = self.outcome.failed if self.outcome is not None else []
        return any(each.mendable for each in self.plan.problems) or any(each.mendable for each in failed)

    @property
    def only_problems(self) -> bool:
        """Whether all that failed lies in what is declared, so that it can be reported and put up with."""
        stopped = self.outcome is not None and self.outcome.stopped
        return not (self.mendable or self.plan.is_question or stopped)

    def ids_to_wait_for(self) -> list[str]:
        """Return the ids of declared sources that are not live: those written, and those not trained yet."""
        written = self.outcome.written_ids if self.outcome is not None else []
        not_live = [each.source_id for each in self.plan.unchanged if each.status in TRAINING | {"failed"}]
        return list(dict.fromkeys([*written, *not_live]))
