"""What has to be done so that an agent's sources are as declared. Pure: values in, values out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from airflow_provider_chatbase.client.errors import counted
from airflow_provider_chatbase.sync.declaration import Declaration, DeclaredInput, DeclaredSource, Problem
from airflow_provider_chatbase.sync.inventory import ExistingSource, Inventory
from airflow_provider_chatbase.sync.payloads import DIGEST_LENGTH, LinkPayload, key_in_name
from airflow_provider_chatbase.sync.report import most_deletes, named

CONTENT_CHANGED = "the content changed"
TRAINING_FAILED = "its training failed"


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """What a sync may do."""

    sync_id: str  # begins the names of the sources that it keeps
    prune: bool = False  # whether it deletes sources of its own that are no longer declared
    max_deletes: float = 0.3  # a count, or as a float a share of what it keeps; with more it deletes none
    allow_empty: bool = False  # whether a folder, pattern or list that declares nothing is meant so
    task: str = ""  # the mark of the task that writes
    take_over: bool = False  # whether what another task wrote under the same sync_id is this one's now

    def is_of_another_task(self, existing: ExistingSource) -> bool:
        """Say whether another task wrote a source of the same ``sync_id``."""
        return bool(self.task and existing.task) and self.task != existing.task


@dataclass(frozen=True, slots=True)
class Create:
    """Make a source."""

    declared: DeclaredSource


@dataclass(frozen=True, slots=True)
class Update:
    """Write into a source that is there."""

    declared: DeclaredSource
    existing: ExistingSource
    reason: str  # in a few words
    name_only: bool = False  # whether its content is right already


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a source."""

    existing: ExistingSource
    reason: str  # in a few words
    pruned: bool = True  # since it is no longer declared; what was renamed and changed may replace it


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """All that has to be done, and what has not."""

    creates: tuple[Create, ...] = ()
    updates: tuple[Update, ...] = ()
    deletes: tuple[Delete, ...] = ()
    unchanged: tuple[ExistingSource, ...] = ()
    kept: tuple[ExistingSource, ...] = ()  # its own that are no longer declared, and stay
    problems: tuple[Problem, ...] = ()  # what is declared and cannot be written
    skipped: tuple[tuple[str, str], ...] = ()  # files that are left out, and why
    unmatched: tuple[str, ...] = ()  # what declares nothing: patterns and lists
    foreign: int = 0  # how many sources belong to somebody else
    withheld: str = ""  # why deletes that were asked for are not done; empty if they are
    is_question: bool = False  # whether somebody has to say that the withheld deletes are meant

    @property
    def failed_training(self) -> list[ExistingSource]:
        """The sources whose training had failed with the content that is declared."""
        tried_again = [each.existing for each in self.updates if each.reason == TRAINING_FAILED]
        return [each for each in (*self.unchanged, *tried_again) if each.status == "failed"]

    @property
    def in_step(self) -> bool:
        """Whether the agent's sources are as declared."""
        return not (self.creates or self.updates or self.deletes or self.problems or self.withheld)


@dataclass(slots=True)
class _Draft:
    """A plan in the making."""

    creates: list[Create] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    unchanged: list[ExistingSource] = field(default_factory=list)
    duplicates: list[ExistingSource] = field(default_factory=list)
    undeclared: list[ExistingSource] = field(default_factory=list)


def make_plan(
    declaration: Declaration, inventory: Inventory, options: SyncOptions, our_links: Iterable[str] = ()
) -> SyncPlan:
    """Compare what is declared with what is there."""
    draft = _Draft()
    _compare_named(declaration, inventory, options, draft)
    _compare_links(declaration, inventory, frozenset(our_links), draft)
    if options.prune and declaration.complete:
        _find_renamed(draft, options)
    gone = _prunable(draft.undeclared, declaration, options) if options.prune else []
    unsure = _what_may_be_missing(declaration, gone) if options.prune else ""
    question = "" if unsure else _what_may_be_a_mistake(gone, declaration, options, draft)
    if unsure or question:
        gone = []
    return SyncPlan(
        creates=tuple(draft.creates),
        updates=tuple(draft.updates),
        deletes=(
            *(Delete(each, "a second source of the same key", pruned=False) for each in draft.duplicates),
            *(Delete(each, "no longer declared") for each in gone),
        ),
        unchanged=tuple(draft.unchanged),
        kept=tuple(each for each in draft.undeclared if each not in gone),
        problems=declaration.problems,
        skipped=declaration.skipped,
        unmatched=(
            *declaration.unmatched,
            *(each.name for each in declaration.inputs if not each.count and each.pattern is None),
        ),
        foreign=inventory.foreign,
        withheld=unsure or question,
        is_question=bool(question),
    )


def _compare_named(
    declaration: Declaration, inventory: Inventory, options: SyncOptions, draft: _Draft
) -> None:
    there: defaultdict[tuple[str, str], list[ExistingSource]] = defaultdict(list)
    for existing in inventory.owned:
        there[existing.kind, existing.key].append(existing)
    for declared in declaration.sources:
        if declared.kind == "link":
            continue
        found = there.pop((declared.kind, key_in_name(options.sync_id, declared.key)), [])
        if not found:
            draft.creates.append(Create(declared))
            continue
        digest = declared.digest[:DIGEST_LENGTH]
        best, *others = sorted(found, key=lambda each: _preference(each, digest))
        draft.duplicates.extend(others)
        reason = _reason_to_write(best, digest)
        if reason == CONTENT_CHANGED and options.is_of_another_task(best):
            reason += "; another task of this sync_id wrote it before"
        if reason:
            draft.updates.append(Update(declared, best, reason))
        elif options.take_over and options.is_of_another_task(best):
            draft.updates.append(Update(declared, best, "taken over from another task", name_only=True))
        else:
            draft.unchanged.append(best)
    for found in there.values():
        first, *others = sorted(found, key=lambda each: _preference(each, ""))
        draft.undeclared.append(first)
        draft.duplicates.extend(others)


def _preference(existing: ExistingSource, digest: str) -> tuple[bool, str, str]:
    """Order the sources of one key as every run does: the right version first, then the oldest."""
    return existing.digest != digest, existing.created_at, existing.source_id


def _reason_to_write(existing: ExistingSource, digest: str) -> str:
    if existing.digest != digest:
        return CONTENT_CHANGED
    # The same file fails again, and its upload takes the place of another.
    return TRAINING_FAILED if existing.status == "failed" and existing.kind != "file" else ""


def _compare_links(
    declaration: Declaration, inventory: Inventory, our_links: frozenset[str], draft: _Draft
) -> None:
    there: Mapping[str, ExistingSource] = {each.key: each for each in inventory.links}
    declared_keys = set()
    for declared in declaration.sources:
        if declared.kind != "link":
            continue
        declared_keys.add(declared.key)
        existing, link = there.get(declared.key), declared.load()
        if existing is None:
            draft.creates.append(Create(declared))
        elif isinstance(link, LinkPayload) and link.differs_from(existing.metadata):
            draft.updates.append(Update(declared, existing, "the link's options changed"))
        elif existing.status == "failed" and isinstance(link, LinkPayload) and link.options:
            draft.updates.append(Update(declared, existing, TRAINING_FAILED))
        else:  # without options there is nothing to write that would make Chatbase read the pages again
            draft.unchanged.append(existing)
    draft.undeclared.extend(
        each for key, each in there.items() if key in our_links and key not in declared_keys
    )


def _find_renamed(draft: _Draft, options: SyncOptions) -> None:
    """Turn "delete one, make another of the same content" into giving the one another name."""
    ours = [each for each in draft.undeclared if options.take_over or not options.is_of_another_task(each)]
    spare = {(each.kind, each.digest): each for each in ours if each.status != "failed"}
    for create in list(draft.creates):
        declared = create.declared
        existing = spare.pop((declared.kind, declared.digest[:DIGEST_LENGTH]), None)
        if existing is not None and declared.kind != "link":
            draft.creates.remove(create)
            draft.undeclared.remove(existing)
            draft.updates.append(Update(declared, existing, f"renamed from {existing.key}", name_only=True))


def _what_may_be_missing(declaration: Declaration, gone: Sequence[ExistingSource]) -> str:
    """Say why what is not declared may not be gone."""
    if not declaration.complete:
        return "what is declared could not be read as a whole, so what is missing may not be gone"
    if gone and declaration.problems:
        return f"{named(each.key for each in declaration.problems)} cannot be written and may replace it"
    return ""


def _what_may_be_a_mistake(
    gone: Sequence[ExistingSource], declaration: Declaration, options: SyncOptions, draft: _Draft
) -> str:
    """Say what is so much less than it was that somebody has to say whether it is meant."""
    others = (
        [] if options.take_over else sorted(each.key for each in gone if options.is_of_another_task(each))
    )
    if others:
        return (
            f"sync_id {options.sync_id!r} has {counted(len(others), 'source')} written by another task: "
            f"{named(others)}. Give each task a sync_id of its own, or this one take_over=True once if it "
            "was renamed or moved"
        )
    most, inputs = options.max_deletes, _inputs(declaration)
    for each, may_own in () if options.allow_empty else inputs:
        lost = [source for source in gone if may_own(source.kind, source.key)]
        if lost and not each.count:
            return (
                f"{each.name} declares nothing at all, and {counted(len(lost), 'source')} would be deleted. "
                "If that is meant, say so with allow_empty=True"
            )
    owned = [*draft.unchanged, *draft.undeclared, *(update.existing for update in draft.updates)]
    if isinstance(most, int):
        if len(gone) > most:
            return f"{len(gone)} sources would be deleted, and max_deletes is {most}"
        for each, may_own in () if options.allow_empty else inputs:
            count, of = (sum(may_own(s.kind, s.key) for s in these) for these in (gone, owned))
            if count > 1 and each.count * 2 < of:
                return (
                    f"{each.name} declares {each.count}, of {of} before, and {count} would be deleted. "
                    "If that is meant, say so with allow_empty=True"
                )
        return ""
    shares = [("this sync", _any_source), *((each.name, may_own) for each, may_own in inputs)]
    for name, may_own in shares:
        count = sum(may_own(each.kind, each.key) for each in gone)
        of = sum(may_own(each.kind, each.key) for each in owned)
        if count > most_deletes(most, of):
            return (
                f"{count} of the {of} sources of {name} would be deleted, and max_deletes is {most:.0%}. If "
                "that is meant, raise it"
            )
    return ""


def _inputs(declaration: Declaration) -> list[tuple[DeclaredInput, Callable[[str, str], bool]]]:
    """Return what declares, each with which sources may be its own: without a folder, a list has all."""
    alone = all(each.pattern is None for each in declaration.inputs)
    return [(each, _any_source if alone else each.may_own) for each in declaration.inputs]


def _any_source(_kind: str, _key: str) -> bool:
    return True


def _prunable(
    undeclared: Iterable[ExistingSource], declaration: Declaration, options: SyncOptions
) -> list[ExistingSource]:
    """Leave what is declared and cannot be written: the older version is better than none."""
    held = {problem.key for problem in declaration.problems}
    held |= {key_in_name(options.sync_id, key) for key in held}
    return [each for each in undeclared if each.key not in held]
