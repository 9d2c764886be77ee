"""A page to try every operation of the API by hand, and to chat with an agent; in the extra ``simulator``."""

from airflow_provider_chatbase.playground.page import Page, routes

__all__ = ["Page", "routes"]
