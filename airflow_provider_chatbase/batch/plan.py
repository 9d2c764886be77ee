"""What a batch would take, before anything is sent."""

from __future__ import annotations

from typing import Any

from airflow_provider_chatbase.batch.cache import AnswerCache
from airflow_provider_chatbase.batch.checkpoint import Checkpoint
from airflow_provider_chatbase.batch.intake import Intake
from airflow_provider_chatbase.batch.storage import Storage
from airflow_provider_chatbase.exports.manifest import MANIFEST


def count_prompts(
    intake: Intake, checkpoint: Checkpoint, cache: AnswerCache | None, *, dedupe: bool
) -> dict[str, int]:
    """Count the prompts by what would be done with them."""
    settled = cached = to_send = 0
    for prompt in intake:
        if checkpoint.is_final(prompt.index):
            settled += 1
        elif prompt.problem is not None or (dedupe and intake.first_like(prompt)[0] != prompt.index):
            continue
        elif cache is not None and cache.get(prompt) is not None:
            cached += 1
        else:
            to_send += 1
    return {
        "items": intake.count,
        "invalid": intake.invalid,
        "duplicates": intake.duplicates,
        "answered_before": settled,
        "cached": cached,
        "to_send": to_send,
    }


def estimate(to_send: int, output: Storage, agent_id: str) -> dict[str, Any]:
    """Estimate the credits, from the earlier results at the output where there are some."""
    each, basis = 1.0, "1 credit an answer; many models cost more"
    earlier = output.read_json(MANIFEST) or {}
    if earlier.get("agent_id") == agent_id and earlier.get("credits_per_answer"):
        each = float(earlier["credits_per_answer"])
        basis = "the average of the earlier results at this path"
    return {"estimated_credits": round(to_send * each, 6), "estimate_basis": basis}
