"""The hook: an Airflow connection becomes a client; plain JSON in and out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import BaseHook
from airflow.sdk.log import mask_secret

from airflow_provider_chatbase.client import AsyncChatbaseClient, ChatbaseClient, Request, RetryPolicy
from airflow_provider_chatbase.client.answers import require_answer
from airflow_provider_chatbase.client.errors import ChatbaseError, ChatbaseInputError
from airflow_provider_chatbase.client.v2 import agents, chat, conversations, sources
from airflow_provider_chatbase.connection_form import EXTRA_FIELDS, HIDDEN_FIELDS, PLACEHOLDERS, RELABELING
from airflow_provider_chatbase.hooks.connection import ChatbaseConnection, read_connection
from airflow_provider_chatbase.hooks.connection_test import try_connection

JsonObject = dict[str, Any]


class ChatbaseHook(BaseHook):
    """
    Speaks to Chatbase with the key and the settings of an Airflow connection.

    The connection is read once and its HTTP connections are shared by all calls of a hook; use it as a
    context manager, or call :meth:`close`, to close them. Every call may raise one of the tree in
    :mod:`airflow_provider_chatbase.client.errors`.

    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    conn_name_attr = "chatbase_conn_id"
    default_conn_name = "chatbase_default"
    conn_type = "chatbase"
    hook_name = "Chatbase"

    def __init__(self, chatbase_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.chatbase_conn_id = chatbase_conn_id

    @cached_property
    def connection(self) -> ChatbaseConnection:
        """
        Read the Airflow connection.

        :return: the client's settings and the default agent.
        :raises ChatbaseConfigurationError: when a field is missing or wrong.
        """
        found = self.get_connection(self.chatbase_conn_id)
        return _masked(read_connection(found, found.extra_dejson))

    @cached_property
    def client(self) -> ChatbaseClient:
        """Return the client, for calls that this hook has no method for."""
        return ChatbaseClient(self.connection.settings)

    def get_conn(self) -> ChatbaseClient:
        """Return the client, under the name that Airflow gives it."""
        return self.client

    async def open_async_client(self, policy: RetryPolicy | None = None) -> AsyncChatbaseClient:
        """
        Return a new async client, for triggers and other code on an event loop; the caller closes it.

        :param policy: when to repeat a request; by default as the connection says.
        """
        if "connection" not in self.__dict__:
            found = await get_async_connection(self.chatbase_conn_id, hook=self)
            self.__dict__["connection"] = read_connection(found, await get_async_extra_dejson(found))
        return AsyncChatbaseClient(self.connection.settings, policy)

    def agent_or_default(self, agent_id: str | None) -> str:
        """
        Return the agent that a call is for.

        :param agent_id: what the caller gave; ``None`` or empty means the connection's default agent.
        :raises ChatbaseInputError: when there is neither.
        """
        chosen = agent_id or self.connection.agent_id
        if not chosen:
            raise ChatbaseInputError(
                "No agent was named. Give agent_id, or set agent_id in the extra of the connection "
                f"{self.chatbase_conn_id!r}. Nothing was sent."
            )
        return chosen

    def list_agents(self) -> list[JsonObject]:
        """Return all agents of the workspace: ``listAgents``."""
        return list(self.client.items(agents.list_agents()))

    def get_agent(self, agent_id: str | None = None) -> JsonObject:
        """
        Return an agent with its settings and training status: ``getAgent``.

        :param agent_id: the agent; by default the connection's.
        """
        return self.client.send(agents.get_agent(self.agent_or_default(agent_id)))

    def create_agent(self, name: str, settings: dict[str, Any] | None = None) -> JsonObject:
        """
        Create an agent: ``createAgent``. It is not repeated after an ambiguous failure.

        :param name: its name, at most 100 characters.
        :param settings: ``url``, ``instructions``, ``model``, ``temp``, ``visibility``.
        :return: ``{"id", "pendingSteps"?}``.
        """
        return self.client.send(agents.create_agent({**(settings or {}), "name": name}))

    def update_agent(self, settings: dict[str, Any], agent_id: str | None = None) -> JsonObject:
        """
        Change some of an agent's settings: ``updateAgent``.

        :param settings: the API's names; what is left out stays, ``None`` resets a nullable setting.
        :param agent_id: the agent; by default the connection's.
        :return: ``{"success": true}``.
        """
        return self.client.send(agents.update_agent(self.agent_or_default(agent_id), settings))

    def clone_agent(self, agent_id: str | None = None) -> JsonObject:
        """
        Copy an agent with its sources: ``cloneAgent``. It is not repeated after an ambiguous failure.

        :param agent_id: the agent to copy; by default the connection's.
        :return: ``{"id", "pendingSteps"?}`` of the copy.
        """
        return self.client.send(agents.clone_agent(self.agent_or_default(agent_id)))

    def delete_agent(self, agent_id: str) -> JsonObject:
        """
        Delete an agent, for good: ``deleteAgent``.

        :param agent_id: the agent; it must be named.
        :return: ``{"success": true}``.
        """
        return self.client.send(agents.delete_agent(agent_id))

    def send_message(
        self,
        message: str,
        agent_id: str | None = None,
        conversation_id: str | None = None,
        user_id: str | None = None,
    ) -> JsonObject:
        """
        Ask an agent and wait for the whole answer: ``chatWithAgent``.

        :param message: the question.
        :param agent_id: the agent; by default the connection's.
        :param conversation_id: the conversation to continue; by default a new one.
        :param user_id: tags a new conversation; letters, digits, dots, underscores and hyphens.
        :return: ``text``, ``conversation_id``, ``message_id``, ``user_message_id``, ``user_id``,
            ``credits``, ``finish_reason``, ``tool_calls``.
        :raises ChatbaseAnswerError: when the agent failed or said nothing.
        """
        request = chat.send_message(
            self.agent_or_default(agent_id), message, conversation_id=conversation_id, user_id=user_id
        )
        return require_answer(self.client.send(request))

    def list_sources(
        self, agent_id: str | None = None, types: list[str] | None = None, name: str | None = None
    ) -> list[JsonObject]:
        """
        Return an agent's sources: ``listSources``.

        :param agent_id: the agent; by default the connection's.
        :param types: only these: link, file, qna, notionPage, text.
        :param name: only names that contain this, in any case.
        """
        first = sources.list_sources(self.agent_or_default(agent_id), types=types or (), name=name)
        return list(self.client.items(first))

    def get_source(self, source_id: str, agent_id: str | None = None) -> JsonObject:
        """
        Return a source with its training status: ``getSource``.

        :param source_id: the source.
        :param agent_id: the agent; by default the connection's.
        """
        return self.client.send(sources.get_source(self.agent_or_default(agent_id), source_id))

    def create_text_source(self, name: str, content: str, agent_id: str | None = None) -> JsonObject:
        """
        Give an agent a text to learn: ``createSource``. It is not repeated after an ambiguous failure.

        :param name: its name, at most 100 characters.
        :param content: the text, at most 1,048,576 characters.
        :param agent_id: the agent; by default the connection's.
        :return: the source.
        """
        return self.client.send(sources.create_text_source(self.agent_or_default(agent_id), name, content))

    def create_qna_source(
        self, name: str, questions: list[str], answer: str, agent_id: str | None = None
    ) -> JsonObject:
        """
        Give an agent questions with their answer: ``createSource``. Not repeated after an ambiguous failure.

        :param name: its name.
        :param questions: 1 to 50 ways to ask.
        :param answer: the answer to all of them.
        :param agent_id: the agent; by default the connection's.
        :return: the source.
        """
        return self.client.send(
            sources.create_qna_source(self.agent_or_default(agent_id), name, questions, answer)
        )

    def create_link_source(
        self,
        url: str,
        link_type: str = "individual",
        agent_id: str | None = None,
        exclude_paths: list[str] | None = None,
        include_only_paths: list[str] | None = None,
        slow_scraping: bool = False,
    ) -> JsonObject:
        """
        Let an agent read web pages: ``createSource``. It is not repeated after an ambiguous failure.

        :param url: where to start.
        :param link_type: ``individual``, ``sitemap`` or ``crawl``.
        :param agent_id: the agent; by default the connection's.
        :param exclude_paths: patterns of paths to leave out.
        :param include_only_paths: patterns of the only paths to read.
        :param slow_scraping: go easy on the site.
        :return: the source.
        """
        return self.client.send(
            sources.create_link_source(
                self.agent_or_default(agent_id),
                url,
                link_type,
                exclude_paths=exclude_paths or (),
                include_only_paths=include_only_paths or (),
                slow_scraping=slow_scraping,
            )
        )

    def update_source(
        self, source_id: str, changes: dict[str, Any], agent_id: str | None = None
    ) -> JsonObject:
        """
        Change a text, Q&A or link source: ``updateSource``.

        :param source_id: the source.
        :param changes: ``name``, ``content``; ``questions``, ``answer``; or a link's patterns.
        :param agent_id: the agent; by default the connection's.
        :return: the source.
        """
        return self.client.send(sources.update_source(self.agent_or_default(agent_id), source_id, changes))

    def delete_source(self, source_id: str, agent_id: str | None = None) -> JsonObject:
        """
        Delete a source, for good: ``deleteSource``.

        :param source_id: the source.
        :param agent_id: the agent; by default the connection's.
        :return: the source, ``deleted`` or ``toBeDeleted``.
        """
        return self.client.send(sources.delete_source(self.agent_or_default(agent_id), source_id))

    def export_conversations(
        self,
        agent_id: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        conversation_id: str | None = None,
        channels: list[str] | None = None,
        summary: bool = False,
    ) -> Iterator[JsonObject]:
        """
        Walk over conversations of every channel, newest first: ``exportConversations``.

        :param agent_id: the agent; by default the connection's.
        :param start: only those created at or after this time.
        :param end: only those created at or before this time.
        :param conversation_id: only this one.
        :param channels: only these, by the API's exact names, such as ``Widget or Iframe``.
        :param summary: leave the messages out.
        :return: an iterator that fetches page after page.
        """
        return self.client.items(
            conversations.export_conversations(
                self.agent_or_default(agent_id),
                start=start,
                end=end,
                conversation_id=conversation_id,
                sources=channels or (),
                summary=summary,
            )
        )

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
        if not path.startswith("/"):
            raise ChatbaseInputError(f"path must begin with a slash, not {path!r}. Nothing was sent.")
        return self.client.send(
            Request(
                operation=f"{method} {path}",
                method=method,
                path=path,
                query=query or {},
                body=body,
                version=api_version or self.connection.settings.api_version,
                read=lambda reply: reply,
                repeatable=method in ("GET", "PUT", "DELETE") if repeatable is None else repeatable,
            )
        )

    def test_connection(self) -> tuple[bool, str]:
        """
        Try the connection with a call that needs the key and costs nothing: ``listAgents``.

        :return: whether it works, and what to tell the user.
        """
        try:
            connection = self.connection
            with ChatbaseClient(connection.settings, RetryPolicy(max_attempts=2, deadline=20.0)) as client:
                return True, try_connection(client, connection.agent_id)
        except ChatbaseError as error:
            return False, str(error)

    def close(self) -> None:
        """Close the HTTP connections."""
        if "client" in self.__dict__:
            self.client.close()
            del self.__dict__["client"]

    def __enter__(self) -> Self:
        """Return the hook, which is closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the HTTP connections."""
        self.close()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the form's standard fields, for Airflow before 3.2."""
        return {
            "hidden_fields": HIDDEN_FIELDS,
            "relabeling": RELABELING,
            "placeholders": PLACEHOLDERS,
        }

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's extra fields, for Airflow before 3.2; needs ``wtforms`` there."""
        from airflow_provider_chatbase.hooks.connection_widgets import widgets

        return widgets(EXTRA_FIELDS)


def _masked(connection: ChatbaseConnection) -> ChatbaseConnection:
    """Tell Airflow's logs what to hide; ``dag.test()`` does not do so by itself."""
    mask_secret(connection.settings.api_key)
    if connection.settings.proxy and (password := urlsplit(connection.settings.proxy).password):
        mask_secret(password)
    return connection
