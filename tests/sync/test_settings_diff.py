"""Which of an agent's settings differ from the wanted ones."""

from __future__ import annotations

import pytest

from airflow_provider_chatbase.sync.agents import differing, is_met


@pytest.mark.parametrize(
    ("wanted", "actual", "expected"),
    [
        ("a", "a", True),
        ("a", "b", False),
        (1, 1.0, True),
        (0.7, 0.7, True),
        (True, 1, False),
        (0, False, False),
        (False, False, True),
        (None, None, True),
        (None, {"limit": 20}, False),
        ("", None, False),
        ("a\r\nb  \r\n", "a\nb", True),
        ("Gro\u0308\u00dfe", "Gr\u00f6\u00dfe", True),
        ("a b", "a  b", False),
        ("a\nb", "a b", False),
        ([], None, False),
        ([1, 2], [1, 2], True),
        ([1, 2], [2, 1], False),
        ([{"a": 1}], [{"a": 1, "b": 2}], False),
        ({}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1, "b": 2}, {"a": 1}, False),
        ({"a": None}, {}, False),
        ({"a": None}, {"a": None}, True),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, True),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, False),
        ({"a": True}, {"a": 1}, False),
        ({"a": 1}, None, False),
        (None, [], False),
        (None, 0, False),
        (None, False, False),
        (["Hi \r\n"], ["Hi"], True),
        (["Hi", "you"], ["Hi"], False),
        (0.3, 0.30000001192092896, True),
        (0.3, 0.301, False),
    ],
    ids=repr,
)
def test_is_met(wanted, actual, expected):
    assert is_met(wanted, actual) is expected


def test_differing_leaves_out_what_is_so_already():
    wanted = {"name": "N", "temp": 0, "creditLimit": None, "brandNew": 1}
    agent = {"name": "N", "temp": 0.5, "creditLimit": None, "instructions": "x"}
    assert differing(wanted, agent) == {"temp": 0, "brandNew": 1}


def test_what_the_agent_does_not_show_differs_even_if_nothing_is_wanted():
    assert differing({"brandNew": None}, {}) == {"brandNew": None}


def test_lists_that_mean_the_same_in_any_order_are_no_drift():
    agent = {"blockedCountries": ["FR", "DE"], "allowedDomains": ["b.example", "a.example"]}
    wanted = {"blockedCountries": ["de", "fr"], "allowedDomains": ["A.example ", "b.example"]}
    assert differing(wanted, agent) == {}
    assert set(differing({"blockedCountries": ["de"]}, agent)) == {"blockedCountries"}
