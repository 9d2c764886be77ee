"""Plans: values in, values out."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_chatbase.sync.declaration import Declaration, DeclaredSource, Problem, combine
from airflow_provider_chatbase.sync.inventory import ExistingSource, Inventory
from airflow_provider_chatbase.sync.payloads import DIGEST_LENGTH, TextPayload, key_in_name
from airflow_provider_chatbase.sync.plan import SyncOptions, make_plan


def declared(key, content="text", kind="text"):
    payload = TextPayload(content)
    return DeclaredSource(kind, key, payload.digest, lambda: payload)


def existing(key, content="text", kind="text", source_id=None, status="trained", created_at="2026"):
    digest = hashlib.sha256(content.encode()).hexdigest()[:DIGEST_LENGTH]
    key = key_in_name("docs", key)
    return ExistingSource(source_id or f"id of {key}", kind, key, digest, status, created_at)


def plan(sources, there, *, problems=(), complete=True, **options):
    return make_plan(
        Declaration(tuple(sources), tuple(problems), complete),
        Inventory(tuple(there)),
        SyncOptions("docs", **options),
    )


def test_create_update_delete_and_unchanged():
    made = plan(
        [declared("new"), declared("same", "b"), declared("changed", "after")],
        [existing("same", "b"), existing("changed", "before"), existing("gone", "c")],
        prune=True,
    )
    assert [each.declared.key for each in made.creates] == ["new"]
    assert [each.existing.key for each in made.updates] == ["changed"]
    assert [each.existing.key for each in made.deletes] == ["gone"]
    assert [each.key for each in made.unchanged] == ["same"]
    assert not made.in_step


def test_an_incomplete_declaration_prunes_and_renames_nothing():
    made = plan([declared("new", "c")], [existing("gone", "c")], complete=False, prune=True)
    assert [each.declared.key for each in made.creates] == ["new"]
    assert (made.deletes, made.updates) == ((), ())
    assert "could not be read as a whole" in made.withheld


def test_without_prune_a_renamed_source_is_left_to_another_task_of_the_same_owner():
    made = plan([declared("new", "c")], [existing("gone", "c")])
    assert (len(made.creates), len(made.updates), len(made.deletes), len(made.kept)) == (1, 0, 0, 1)


def test_a_source_whose_new_version_cannot_be_written_is_not_pruned():
    made = plan(
        [declared("a")], [existing("a"), existing("b", "c")], problems=[Problem("b", "x")], prune=True
    )
    assert made.deletes == ()


def test_of_two_sources_of_one_key_the_right_version_stays():
    there = [existing("a", "old", source_id="1", created_at="2025"), existing("a", "new", source_id="2")]
    made = plan([declared("a", "new")], there)
    assert [each.source_id for each in made.unchanged] == ["2"]
    assert [each.existing.source_id for each in made.deletes] == ["1"]


def test_the_same_key_of_another_kind_is_another_source():
    made = plan([declared("a", kind="qna")], [existing("a")], prune=True)
    assert (len(made.creates), len(made.deletes)) == (1, 1)


def test_two_declared_under_one_key_are_a_problem_and_nothing_is_written_for_it():
    both = combine([Declaration((declared("Ü"),)), Declaration((declared("U\u0308", "other"),))])
    assert both.sources == ()
    assert [problem.key for problem in both.problems] == ["Ü"]
    assert both.complete


contents = st.dictionaries(st.text(min_size=1, max_size=120), st.sampled_from(["a", "b", "c"]), max_size=8)


@given(wanted=contents, there=contents, prune=st.booleans())
def test_a_plan_carried_out_leaves_nothing_to_do(wanted, there, prune):
    declaration = combine([Declaration(tuple(declared(key, text) for key, text in wanted.items()))])
    inventory = [existing(key, text, source_id=f"{n}") for n, (key, text) in enumerate(there.items())]
    options = SyncOptions("docs", prune=prune, max_deletes=100)
    first = make_plan(declaration, Inventory(tuple(inventory)), options)
    gone = {each.existing.source_id for each in [*first.deletes, *first.updates]}
    after = [each for each in inventory if each.source_id not in gone]
    written = [*first.creates, *first.updates]
    after += [
        ExistingSource(
            f"w{n}", "text", key_in_name("docs", w.declared.key), w.declared.digest[:12], "trained", ""
        )
        for n, w in enumerate(written)
    ]

    second = make_plan(declaration, Inventory(tuple(after)), options)

    assert (second.creates, second.updates, second.deletes) == ((), (), ())
    assert len(second.unchanged) == len(declaration.sources)
