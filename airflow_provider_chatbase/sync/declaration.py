"""What an agent is to know, before it is compared with what it knows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from airflow_provider_chatbase.sync.naming import normal_key
from airflow_provider_chatbase.sync.payloads import Kind, Payload


@dataclass(frozen=True, slots=True)
class DeclaredSource:
    """
    One source as it is to be.

    :param kind: what kind of source.
    :param key: tells it from the others of its kind and stays the same when its content changes.
    :param digest: the SHA-256 of its content.
    :param load: reads the content, when it is needed.
    """

    kind: Kind
    key: str
    digest: str
    load: Callable[[], Payload] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Problem:
    """
    Something declared that cannot be written.

    :param key: its key, or where it stands.
    :param reason: why, as a sentence.
    """

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Declaration:
    """
    All that is declared.

    :param sources: what can be written.
    :param problems: what cannot.
    :param complete: whether all of it could be read. If not, what is missing must not be taken for gone.
    :param skipped: files of other formats, which are left out.
    """

    sources: tuple[DeclaredSource, ...] = ()
    problems: tuple[Problem, ...] = ()
    complete: bool = True
    skipped: tuple[str, ...] = ()


def combine(declarations: Iterable[Declaration]) -> Declaration:
    """Put declarations together, and set aside what stands in them twice."""
    parts = list(declarations)
    by_identity: defaultdict[tuple[Kind, str], list[DeclaredSource]] = defaultdict(list)
    for part in parts:
        for source in part.sources:
            by_identity[source.kind, normal_key(source.key)].append(source)
    return Declaration(
        sources=tuple(found[0] for found in by_identity.values() if len(found) == 1),
        problems=(
            *(problem for part in parts for problem in part.problems),
            *(
                Problem(key, f"{len(found)} {kind} sources are declared under this key. Give each its own.")
                for (kind, key), found in by_identity.items()
                if len(found) > 1
            ),
        ),
        complete=all(part.complete for part in parts),
        skipped=tuple(path for part in parts for path in part.skipped),
    )
