"""Doing what a plan says, so that it may be killed at any point, run again, and run twice at once."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from threading import Event
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_chatbase.client.errors import (
    ChatbaseApiError,
    ChatbaseAuthenticationError,
    ChatbaseConfigurationError,
    ChatbaseConnectionError,
    ChatbaseError,
    ChatbaseNotFoundError,
    ChatbasePermissionError,
)
from airflow_provider_chatbase.client.v2.sources import delete_source, get_source
from airflow_provider_chatbase.sync.inventory import (
    TRAINING,
    ExistingSource,
    Inventory,
    list_all,
    take_inventory,
)
from airflow_provider_chatbase.sync.payloads import (
    Kind,
    LinkPayload,
    Payload,
    SourceName,
    key_in_name,
    link_key,
    rename,
    source_name,
)
from airflow_provider_chatbase.sync.plan import Create, Delete, SyncPlan, Update
from airflow_provider_chatbase.sync.report import (
    BY_ANOTHER_RUN,
    LOST_AND_FOUND,
    ActionResult,
    SyncResult,
    named,
)

if TYPE_CHECKING:
    from airflow_provider_chatbase.client import ChatbaseClient
    from airflow_provider_chatbase.client.rate_limiter import UploadPacer
    from airflow_provider_chatbase.client.request import JsonObject, Request

log = logging.getLogger(__name__)

ADOPTED = "adopted: somebody else made it"

STORAGE_FULL = "SOURCE_SIZE_LIMIT_EXCEEDED"

_CREATE_ATTEMPTS = 3
_LOOKS_AFTER_DOUBT = 2
_MOST_LOST_IN_A_ROW = 3
_HOPELESS_CODES = ("AGENT_NOT_FOUND", "SUBSCRIPTION_")
_HOPELESS = (ChatbaseAuthenticationError, ChatbasePermissionError, ChatbaseConfigurationError)


@dataclass(frozen=True, slots=True)
class SyncPatience:
    """How long to wait for what Chatbase is busy with."""

    busy: float = 900.0  # seconds that a source may train before it can be written
    poll: float = 5.0  # seconds between looks at it
    doubt: float = 2.0  # seconds before looking again for a source that may or may not have been made
    old: float = (
        30.0  # seconds after which a list is read again before a write: this run may have stood still
    )
    sleep: Callable[[float], None] = field(default_factory=lambda: time.sleep)
    clock: Callable[[], float] = time.monotonic


Action = TypeVar("Action", Create, Update)


class _StopError(Exception):
    """The rest of the plan cannot work either."""


@dataclass(slots=True)
class PlanRunner:
    """Carries out plans for one agent."""

    client: ChatbaseClient
    uploads: ChatbaseClient
    agent_id: str
    sync_id: str
    pacer: UploadPacer
    patience: SyncPatience = field(default_factory=SyncPatience)
    task: str = ""  # the mark of the task that writes
    listed_at: float = 0.0  # by the patience's clock, when what the plan is made from was listed
    ending: Event = field(default_factory=Event)  # set when the task is told to end
    _result: SyncResult = field(default_factory=SyncResult)
    _makes_room: bool = False  # whether the plan's deletes are to make room for what did not fit
    _lost_in_a_row: int = 0
    _there: Inventory = field(default_factory=Inventory)  # what was there when a look was needed

    def run(self, plan: SyncPlan) -> SyncResult:
        """
        Carry out a plan: first what is new or changed, then what is busy training, at last the deletes.

        A failed action does not stop the others, unless it shows that none of them can work. What it may
        replace is not deleted, except where only the storage is full: then that makes room for it.
        """
        self.listed_at = self.listed_at or self.patience.clock()
        try:
            self._write([*plan.updates, *plan.creates])
            full = self._to_try_again(plan)
            self._delete(self._sure(plan.deletes))
            if full:
                self._write(full)
                self._delete(self._sure(()))
        except _StopError as stop:
            self._result.stopped = str(stop)
        return self._result

    def _write(self, actions: Iterable[Create | Update]) -> None:
        """Write: uploads late since they have to wait, and last what trains and cannot be written yet."""
        busy: list[Update] = []
        for action in sorted(actions, key=lambda each: each.declared.kind == "file"):
            if isinstance(action, Create):
                self._try(action, self._create)
            elif action.declared.kind == "file" and action.existing.status in TRAINING:
                busy.append(action)  # an upload that is refused counts, so it is better not tried
            else:
                self._try(action, lambda each: self._update(each, busy))
        deadline = self.patience.clock() + self.patience.busy  # for all of them: they train at the same time
        for update in busy:
            self._try(update, lambda each: self._update_when_trained(each, deadline))

    def _to_try_again(self, plan: SyncPlan) -> list[Create | Update]:
        """Take back the failures that the plan's deletes may mend, if there are no others."""
        failed = self._result.failed
        if not plan.deletes or any(each.code != STORAGE_FULL for each in failed):
            return []
        self._makes_room = bool(failed)
        keys = {(each.kind, each.key) for each in failed}
        self._result.done = [each for each in self._result.done if each.error is None]
        actions: list[Create | Update] = [*plan.updates, *plan.creates]
        return [each for each in actions if (each.declared.kind, each.declared.key) in keys]

    def _try(self, action: Action, work: Callable[[Action], ActionResult | None]) -> None:
        """Do one action, and keep what became of it."""
        self._end_if_told()
        declared = action.declared
        try:
            done = work(action)
        except ChatbaseError as error:
            self._fail(
                "create" if isinstance(action, Create) else "update", declared.kind, declared.key, error
            )
        else:
            self._lost_in_a_row = 0
            if done is not None:
                self._result.done.append(done)
                log.info("%s %s %s", _PAST[done.action], declared.kind, declared.key)

    def _end_if_told(self) -> None:
        """Write no more where the task was told to end, nor leave twice what the next try made meanwhile."""
        if self.ending.is_set():
            self._delete(self._sure(()))
            raise ChatbaseToldToEndError(
                "The task was told to end. What was written stays; running it again goes on from there."
            )

    def _fail(self, action: str, kind: str, key: str, error: ChatbaseError) -> None:
        lost = isinstance(error, ChatbaseConnectionError)
        self._lost_in_a_row = self._lost_in_a_row + 1 if lost else 0
        code = error.code or ""
        mendable = not error.permanent or code.startswith("SOURCE_IS_")
        mendable = mendable or (code == STORAGE_FULL and self._makes_room)
        self._result.done.append(
            ActionResult(
                action,
                kind,
                key,
                error=str(error),
                mendable=mendable,
                in_doubt=error.ambiguous,
                code=error.code,
            )
        )
        log.warning("Could not %s %s %s: %s", action, kind, key, error)
        if isinstance(error, _HOPELESS) or code.startswith(_HOPELESS_CODES):
            raise _StopError(str(error)) from error
        if self._lost_in_a_row >= _MOST_LOST_IN_A_ROW:
            raise _StopError(f"{self._lost_in_a_row} in a row got no reply. {error}") from error

    def _create(self, action: Create | Update) -> ActionResult:
        declared = action.declared
        payload = declared.load()
        name = source_name(self.sync_id, declared.key, payload.digest, self.task)
        if (found := self._by_another_run(action, name)) is not None:
            return ActionResult("create", declared.kind, declared.key, found, BY_ANOTHER_RUN)
        source_id, note = self._create_once(declared.kind, payload, name)
        return ActionResult("create", declared.kind, declared.key, source_id, note)

    def _by_another_run(self, action: Create | Update, name: SourceName) -> str | None:
        """Return the id of what another run wrote since the plan was made, if it is the same."""
        if self.patience.clock() - self.listed_at > self.patience.old:
            self._look()
        planned = action.existing if isinstance(action, Update) else None
        for each in self._there.owned:
            if planned is not None:
                is_it = each.source_id == planned.source_id and not _is_same(each, planned)
            else:
                is_it = (each.kind, each.key) == (action.declared.kind, name.key)
            if is_it and (each.key, each.digest) == (name.key, name.digest):
                return each.source_id
            if is_it:
                raise ChatbaseOvertakenError(
                    "Another run of this sync wrote another version of it meanwhile. Run the task again."
                )
        return None

    def _look(self) -> Inventory:
        self._there = take_inventory(self.client.run(list_all(self.agent_id)), self.sync_id)
        self.listed_at = self.patience.clock()
        return self._there

    def _create_once(self, kind: Kind, payload: Payload, name: SourceName) -> tuple[str, str]:
        """Create a source; after a failure that leaves open whether it was made, look before trying again."""
        in_doubt = False
        for attempt in range(1, _CREATE_ATTEMPTS + 1):
            try:
                return self._send(payload.create(self.agent_id, str(name)), kind)["id"], ""
            except ChatbaseError as error:
                if not error.ambiguous and error.code != "SOURCE_DUPLICATE":
                    raise
                in_doubt = in_doubt or error.ambiguous
                found = self._look_for(kind, payload, name, patiently=error.ambiguous)
                if found is not None:
                    return found, LOST_AND_FOUND if in_doubt else ADOPTED
                if attempt == _CREATE_ATTEMPTS or not error.ambiguous:
                    raise
                log.warning("Creating it again, since no trace of it was found: %s", error)
        raise AssertionError("the last attempt returns or raises")

    def _look_for(self, kind: Kind, payload: Payload, name: SourceName, *, patiently: bool) -> str | None:
        wanted = name.key, name.digest
        if isinstance(payload, LinkPayload):
            wanted = link_key(payload.url, payload.link_type), ""
        for look in range(_LOOKS_AFTER_DOUBT if patiently else 1):
            if look:
                self.patience.sleep(self.patience.doubt)
            there = take_inventory(self.client.run(list_all(self.agent_id, [kind])), self.sync_id)
            for each in (*there.owned, *there.links):
                if (each.key, each.digest) == wanted:
                    return each.source_id
        return None

    def _update(self, update: Update, busy: list[Update]) -> ActionResult | None:
        """Write into a source; one that is being trained is put off."""
        try:
            return self._put(update)
        except ChatbaseApiError as error:
            if error.code != "SOURCE_IS_TRAINING":
                raise
            busy.append(update)
            return None

    def _update_when_trained(self, update: Update, deadline: float) -> ActionResult:
        """Wait until a source is trained and write into it."""
        while True:
            self._end_if_told()
            source = self._look_at(update.existing.source_id)
            if source is not None and self._is_written(update, source):
                return ActionResult(
                    "update", update.declared.kind, update.declared.key, source["id"], update.reason
                )
            if source is None or source.get("status") not in TRAINING:
                try:
                    return self._put(update)
                except ChatbaseApiError as error:
                    if error.code != "SOURCE_IS_TRAINING" or self.patience.clock() >= deadline:
                        raise
            elif self.patience.clock() >= deadline:
                raise ChatbaseSourceBusyError(
                    f"It still trains after {self.patience.busy:g} s, and cannot be written meanwhile."
                )
            self.patience.sleep(self.patience.poll)

    def _look_at(self, source_id: str) -> JsonObject | None:
        try:
            return self.client.send(get_source(self.agent_id, source_id))
        except ChatbaseNotFoundError:
            return None

    def _is_written(self, update: Update, source: JsonObject) -> bool:
        """Say whether the write that seemed refused was done: its repetition was, while it trained."""
        declared = update.declared
        name = source_name(self.sync_id, declared.key, declared.digest, self.task)
        return source.get("name") == str(name) and name.digest != update.existing.digest

    def _put(self, update: Update) -> ActionResult:
        declared, existing = update.declared, update.existing
        payload = None if update.name_only else declared.load()
        digest = payload.digest if payload else declared.digest
        name = source_name(self.sync_id, declared.key, digest, self.task)
        if (found := self._by_another_run(update, name)) is not None:
            return ActionResult("update", declared.kind, declared.key, found, BY_ANOTHER_RUN)
        if payload is None:
            request = rename(self.agent_id, existing.source_id, declared.kind, str(name))
        else:
            request = payload.change(self.agent_id, existing.source_id, str(name))
        try:
            source = self._send(request, declared.kind)
        except ChatbaseApiError as error:
            if error.code not in ("SOURCE_PENDING_DELETION", "SOURCE_NOT_FOUND", "RESOURCE_NOT_FOUND"):
                raise
            return self._create(update)
        return ActionResult("update", declared.kind, declared.key, source["id"], update.reason)

    def _send(self, request: Request[JsonObject], kind: Kind) -> JsonObject:
        if kind != "file":
            return self.client.send(request)
        with self.pacer.turn():
            return self.uploads.send(request)

    def _sure(self, deletes: Sequence[Delete]) -> list[Delete]:
        """Look again before deleting: leave what is not as it was, and add what was made twice."""
        if not deletes and not self._result.of("create"):
            return []
        try:
            there = self._look()
        except ChatbaseError as error:
            for each in deletes:
                self._fail("delete", each.existing.kind, each.existing.key, error)
            log.warning("Could not look whether anything was made twice; the next run will: %s", error)
            return []
        now = {each.source_id: each for each in (*there.owned, *there.links)}
        right = [
            each
            for each in deletes
            if (found := now.get(each.existing.source_id)) is not None and _is_same(found, each.existing)
        ]
        return [*right, *self._made_twice(there, {each.existing.source_id for each in right})]

    def _made_twice(self, there: Inventory, leave: set[str]) -> list[Delete]:
        """Find what another run made too, so that all runs leave the same one."""
        of_a_key: defaultdict[tuple[str, str], list[ExistingSource]] = defaultdict(list)
        for each in sorted(there.owned, key=lambda each: (each.created_at, each.source_id)):
            if each.source_id not in leave:
                of_a_key[each.kind, each.key].append(each)
        for place, made in enumerate(self._result.done):
            stays = of_a_key.get((made.kind, key_in_name(self.sync_id, made.key)))
            if made.action == "create" and made.error is None and stays:
                self._result.done[place] = replace(made, source_id=stays[0].source_id)
        deletes: list[Delete] = []
        for (kind, key), found in of_a_key.items():
            if len({each.digest for each in found}) > 1:
                error = (
                    "Another run of this sync wrote another version of it meanwhile; the next run settles it"
                )
                self._result.done.append(ActionResult("create", kind, key, error=error))
            else:
                deletes += [Delete(each, "made twice", pruned=False) for each in found[1:]]
        return deletes

    def _delete(self, deletes: Iterable[Delete]) -> None:
        failed = self._result.failed
        unwritten = {key_in_name(self.sync_id, each.key) for each in failed}
        for delete in deletes:
            existing = delete.existing
            if failed and (delete.pruned or existing.key in unwritten):
                log.info("Keeping %s %s: what may replace it was not written.", existing.kind, existing.key)
                self._result.withheld = (
                    f"{named(each.key for each in failed)} could not be written and may replace it"
                )
                continue
            try:
                self.client.send(delete_source(self.agent_id, existing.source_id))
            except ChatbaseNotFoundError as error:
                if error.code == "AGENT_NOT_FOUND":
                    raise _StopError(str(error)) from error
            except ChatbaseError as error:
                self._fail("delete", existing.kind, existing.key, error)
                continue
            self._lost_in_a_row = 0
            self._result.done.append(
                ActionResult("delete", existing.kind, existing.key, existing.source_id, delete.reason)
            )
            log.info("Deleted %s %s: %s", existing.kind, existing.key, delete.reason)


class ChatbaseSourceBusyError(ChatbaseError):
    """A source is being trained for longer than the task waits."""

    transient = True


class ChatbaseOvertakenError(ChatbaseError):
    """Another run of the same sync wrote something else since this one planned."""

    transient = True


class ChatbaseToldToEndError(ChatbaseError):
    """The task is to end before its work is done."""

    transient = True


_PAST = {"create": "Created", "update": "Updated", "delete": "Deleted"}


def _is_same(one: ExistingSource, other: ExistingSource) -> bool:
    return (one.key, one.digest) == (other.key, other.digest)
