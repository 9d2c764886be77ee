"""Runs that start when conversations appear."""

from __future__ import annotations

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_provider_chatbase.triggers.conversations import ChatbaseConversationTrigger


def watched(when: str) -> Asset:
    trigger = ChatbaseConversationTrigger(when, poll_interval=2, chatbase_conn_id="chatbase_watched")
    return Asset(f"chatbase_{when}", watchers=[AssetWatcher(name=when, trigger=trigger)])


for when in ("new", "changed", "handed_over"):
    with DAG(f"watched_{when}", schedule=[watched(when)], max_active_runs=1):

        @task
        def tell(triggering_asset_events=None):
            payloads = [
                each.extra["payload"] for events in triggering_asset_events.values() for each in events
            ]
            return [found["conversation_id"] for payload in payloads for found in payload["conversations"]]

        tell()
