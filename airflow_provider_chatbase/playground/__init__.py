"""A page to try every operation of the API by hand, and to chat with an agent; in the extra ``simulator``."""

from airflow_provider_chatbase.playground.page import PlaygroundPage, routes

__all__ = ["PlaygroundPage", "routes"]
