"""The operations of API v1 that the simulator has."""

from __future__ import annotations

from airflow_provider_chatbase.simulator.routing import Route

ROUTES: tuple[Route, ...] = ()
