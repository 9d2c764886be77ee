"""Runs that start when Chatbase calls."""

from __future__ import annotations

from airflow.sdk import DAG, Asset, task

with DAG("webhook", schedule=[Asset("chatbase_webhook_agent-1")]):

    @task(show_return_value_in_logs=False)
    def tell(triggering_asset_events=None):
        return [each.extra["payload"] for events in triggering_asset_events.values() for each in events]

    tell()
