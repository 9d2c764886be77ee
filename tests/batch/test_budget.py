from __future__ import annotations

from decimal import Decimal

from airflow_provider_chatbase.batch.outcome import StopReason
from airflow_provider_chatbase.batch.settings import Admission, Budget


def _spend(budget: Budget, cost: float | None) -> None:
    budget.begin()
    budget.end(cost, charged=True)


def test_without_limits_everything_goes():
    budget = Budget()
    for _ in range(100):
        assert budget.admit() is Admission.GO
        budget.begin()


def test_the_first_answer_tells_what_one_costs():
    budget = Budget(max_credits=Decimal(10))
    assert budget.admit() is Admission.GO
    budget.begin()
    assert budget.admit() is Admission.WAIT
    budget.end(2, charged=True)
    for _ in range(4):
        assert budget.admit() is Admission.GO
        budget.begin()
    assert budget.admit() is Admission.WAIT


def test_fractions_add_up_exactly():
    budget = Budget(max_credits=Decimal(1))
    for _ in range(10):
        assert budget.admit() is Admission.GO
        _spend(budget, 0.1)
    assert budget.admit() is Admission.STOP
    assert budget.stop_reason() is StopReason.MAX_CREDITS
    assert budget.spent == 1


def test_an_unknown_cost_counts_with_the_average():
    budget = Budget(max_credits=Decimal(6))
    _spend(budget, 2)
    _spend(budget, None)
    assert budget.admit() is Admission.GO
    _spend(budget, None)
    assert budget.admit() is Admission.STOP


def test_what_earlier_attempts_spent_counts():
    budget = Budget(max_credits=Decimal(5), spent=Decimal(5), priced=5, items=5)
    assert budget.admit() is Admission.STOP


def test_items_are_counted_once():
    budget = Budget(max_items=2, items=1)
    assert budget.admit(again=True) is Admission.GO
    budget.begin(again=True)
    assert budget.admit() is Admission.GO
    budget.begin()
    assert budget.admit() is Admission.STOP
    assert budget.admit(again=True) is Admission.GO
    assert budget.stop_reason() is StopReason.MAX_ITEMS
    budget.withdraw()
    assert budget.admit() is Admission.GO


def test_a_limit_of_nothing_sends_nothing():
    assert Budget(max_credits=Decimal(0)).admit() is Admission.STOP
    assert Budget(max_items=0).admit() is Admission.STOP


def test_what_is_in_doubt_counts_and_may_be_looked_for():
    budget = Budget(max_credits=Decimal(3), items=3, spent=Decimal(2), priced=2, unpriced=1)
    assert budget.admit() is Admission.STOP
    assert budget.admit(again=True, doubted=True) is Admission.GO
    budget.begin(again=True, doubted=True)
    budget.withdraw(again=True, doubted=True)
    assert budget.estimate == 3
    budget.begin(again=True, doubted=True)
    budget.end(0.0, charged=False)  # it was refused
    assert budget.admit() is Admission.GO
