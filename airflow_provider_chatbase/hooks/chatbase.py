"""The hook: every operation of the API as a method; plain JSON in and out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeVar

from airflow_provider_chatbase.client import Request
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.replies import Page, any_listing
from airflow_provider_chatbase.client.request import JsonObject, Method
from airflow_provider_chatbase.client.v2 import agents
from airflow_provider_chatbase.get_provider_info import EXTRA_FIELDS, HIDDEN_FIELDS, PLACEHOLDERS, RELABELING
from airflow_provider_chatbase.hooks.agents import AgentCalls
from airflow_provider_chatbase.hooks.contacts import ContactCalls
from airflow_provider_chatbase.hooks.conversations import ConversationCalls
from airflow_provider_chatbase.hooks.helpdesk import HelpdeskCalls
from airflow_provider_chatbase.hooks.messages import MessageCalls
from airflow_provider_chatbase.hooks.sources import SourceCalls

Result = TypeVar("Result")

FIELD_BY_TYPE = {"integer": "IntegerField", "number": "IntegerField", "string": "StringField"}
"""Airflow's form knows no field for other numbers before 3.2, and leaves it out."""


class ChatbaseHook(MessageCalls, ConversationCalls, AgentCalls, SourceCalls, HelpdeskCalls, ContactCalls):
    """
    Speaks to Chatbase with the key and the settings of an Airflow connection.

    The connection is read once and its HTTP connections are shared by all calls of a hook; use it as a
    context manager, or call :meth:`close`, to close them. A call that takes ``agent_id`` and is given none is
    for the connection's default agent. Every call may raise one of the tree in
    :mod:`airflow_provider_chatbase.exceptions`.

    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    # Airflow before 3.2 looks for these two in the class itself, not in those that it inherits from.

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the form's standard fields, for Airflow before 3.2."""
        return {"hidden_fields": HIDDEN_FIELDS, "relabeling": RELABELING, "placeholders": PLACEHOLDERS}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's extra fields, for Airflow before 3.2; needs ``wtforms`` there."""
        try:
            import wtforms
        except ImportError:
            return {}
        return {name: _widget(wtforms, spec) for name, spec in EXTRA_FIELDS.items()}

    def get_health(self) -> JsonObject:
        """Return whether the service is up, as it says itself: ``getHealth``."""
        return self.client.send(agents.get_health())

    def iterate(
        self,
        path: str,
        query: dict[str, str | int] | None = None,
        items: str = "data",
        api_version: Literal["v2", "v1"] | None = None,
    ) -> Iterator[JsonObject]:
        """
        Walk over any listing of the API, with the same key, retries and errors as the methods.

        It follows cursors, and where the query has a ``page`` it counts on until nothing new comes.

        :param path: the path below the version, such as ``/agents/abc/actions``.
        :param query: query parameters, such as ``{"limit": 100}``, or ``{"page": 1, "size": 100}`` on v1.
        :param items: the field of the reply that has the list; a reply that is the list itself needs none.
        :param api_version: ``v2`` or ``v1``; by default the connection's.
        :return: an iterator that fetches page after page.
        """
        request: Request[Page] = self._any("GET", path, query, api_version, partial(any_listing, name=items))
        return self.client.items(request)

    def request(
        self,
        method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"],
        path: str,
        query: dict[str, str | int] | None = None,
        body: Any = None,
        api_version: Literal["v2", "v1"] | None = None,
        repeatable: bool | None = None,
    ) -> Any:
        """
        Call any operation, with the same key, retries and errors as the methods.

        :param method: the HTTP method.
        :param path: the path below the version, such as ``/agents/abc/sources/summary``.
        :param query: query parameters.
        :param body: the JSON body.
        :param api_version: ``v2`` or ``v1``; by default the connection's.
        :param repeatable: whether doing it twice is the same as doing it once; by default every method
            but POST and PATCH.
        :return: the decoded JSON; ``None`` where the reply has no content.
        """
        request = self._any(method, path, query, api_version, lambda reply: reply)
        is_repeatable = method in ("GET", "PUT", "DELETE") if repeatable is None else repeatable
        return self.client.send(replace(request, body=body, repeatable=is_repeatable))

    def _any(
        self,
        method: Method,
        path: str,
        query: dict[str, str | int] | None,
        api_version: Literal["v2", "v1"] | None,
        read: Callable[[Any], Result],
    ) -> Request[Result]:
        if not path.startswith("/"):
            raise ChatbaseInputError(f"path must begin with a slash, not {path!r}. Nothing was sent.")
        version = api_version or self.connection.settings.api_version
        return Request(f"{method} {path}", method, path, read, version=version, query=query or {})


def _widget(wtforms: Any, spec: dict[str, Any]) -> Any:
    kind = spec["schema"]["type"]
    checks = [wtforms.validators.Optional()]
    if "enum" in spec["schema"]:
        checks.append(wtforms.validators.any_of(spec["schema"]["enum"]))
    return getattr(wtforms, FIELD_BY_TYPE[kind if isinstance(kind, str) else kind[0]])(
        spec["label"],
        description=spec["description"],
        default=spec["schema"].get("default"),
        validators=checks,
    )
