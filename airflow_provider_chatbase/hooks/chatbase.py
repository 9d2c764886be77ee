"""The hook: every operation of the API as a method; plain JSON in and out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, Literal

from airflow_provider_chatbase.client import Request, v1
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.rate_limiter import UploadPacer
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.client.v2 import agents, conversations, sources
from airflow_provider_chatbase.hooks.messages import MessageCalls


class ChatbaseHook(MessageCalls):
    """
    Speaks to Chatbase with the key and the settings of an Airflow connection.

    The connection is read once and its HTTP connections are shared by all calls of a hook; use it as a
    context manager, or call :meth:`close`, to close them. A call that takes ``agent_id`` and is given none is
    for the connection's default agent. Every call may raise one of the tree in
    :mod:`airflow_provider_chatbase.client.errors`.

    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    def list_agents(self) -> list[JsonObject]:
        """Return all agents of the workspace: ``listAgents``; on v1 ``getChatbots``."""
        return list(self.client.items(self.client.api.list_agents()))

    def get_agent(self, agent_id: str | None = None) -> JsonObject:
        """Return an agent with its settings and training status: ``getAgent``; on v1 ``getChatbots``."""
        return self._send(self.client.api.get_agent, agent_id)

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
        :return: ``{"success": true}``.
        """
        return self._send(agents.update_agent, agent_id, settings)

    def clone_agent(self, agent_id: str | None = None) -> JsonObject:
        """
        Copy an agent with its sources: ``cloneAgent``. It is not repeated after an ambiguous failure.

        :param agent_id: the agent to copy; by default the connection's.
        :return: ``{"id", "pendingSteps"?}`` of the copy.
        """
        return self._send(agents.clone_agent, agent_id)

    def delete_agent(self, agent_id: str) -> JsonObject:
        """
        Delete an agent, for good: ``deleteAgent``; on v1 ``deleteChatbot``.

        :param agent_id: the agent; it must be named.
        :return: ``{"success": true}``; on v1 ``{"message"}``.
        """
        return self.client.send(self.client.api.delete_agent(agent_id))

    def update_agent_styles(self, styles: dict[str, Any], agent_id: str | None = None) -> JsonObject:
        """
        Change how an agent's chat looks: ``updateAgentStyles``.

        :param styles: ``chat`` and ``centerStage``, each with the styles to change.
        :return: ``{"success": true}``.
        """
        return self._send(agents.update_styles, agent_id, styles)

    def set_auto_retrain(self, enabled: bool, agent_id: str | None = None) -> JsonObject:
        """
        Let an agent refresh its sources every 7 days, or not: ``updateAgentAutoRetrain``.

        :param enabled: whether it does.
        :return: ``{"success": true}``.
        """
        return self._send(agents.update_auto_retrain, agent_id, enabled)

    def list_sources(
        self, agent_id: str | None = None, types: list[str] | None = None, name: str | None = None
    ) -> list[JsonObject]:
        """
        Return an agent's sources: ``listSources``.

        :param types: only these: link, file, qna, notionPage, text.
        :param name: only names that contain this, in any case.
        """
        return list(self._items(sources.list_sources, agent_id, types=types or (), name=name))

    def get_source(self, source_id: str, agent_id: str | None = None) -> JsonObject:
        """
        Return a source with its training status: ``getSource``.

        :param source_id: the source.
        """
        return self._send(sources.get_source, agent_id, source_id)

    def create_text_source(self, name: str, content: str, agent_id: str | None = None) -> JsonObject:
        """
        Give an agent a text to learn: ``createSource``. It is not repeated after an ambiguous failure.

        :param name: its name, at most 100 characters.
        :param content: the text, at most 1,048,576 characters.
        :return: the source.
        """
        return self._send(sources.create_text_source, agent_id, name, content)

    def create_qna_source(
        self, name: str, questions: list[str], answer: str, agent_id: str | None = None
    ) -> JsonObject:
        """
        Give an agent questions with their answer: ``createSource``. Not repeated after an ambiguous failure.

        :param name: its name.
        :param questions: 1 to 50 ways to ask.
        :param answer: the answer to all of them.
        :return: the source.
        """
        return self._send(sources.create_qna_source, agent_id, name, questions, answer)

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
        :param exclude_paths: patterns of paths to leave out.
        :param include_only_paths: patterns of the only paths to read.
        :param slow_scraping: go easy on the site.
        :return: the source.
        """
        return self._send(
            sources.create_link_source,
            agent_id,
            url,
            link_type,
            exclude_paths=exclude_paths or (),
            include_only_paths=include_only_paths or (),
            slow_scraping=slow_scraping,
        )

    def update_source(
        self, source_id: str, changes: dict[str, Any], agent_id: str | None = None
    ) -> JsonObject:
        """
        Change a text, Q&A or link source: ``updateSource``.

        :param source_id: the source.
        :param changes: ``name``, ``content``; ``questions``, ``answer``; or a link's patterns.
        :return: the source.
        """
        return self._send(sources.update_source, agent_id, source_id, changes)

    def delete_source(self, source_id: str, agent_id: str | None = None) -> JsonObject:
        """
        Delete a source, for good: ``deleteSource``.

        :param source_id: the source.
        :return: the source, ``deleted`` or ``toBeDeleted``.
        """
        return self._send(sources.delete_source, agent_id, source_id)

    def upload_file_source(
        self,
        name: str,
        filename: str,
        content: bytes,
        agent_id: str | None = None,
        source_id: str | None = None,
    ) -> JsonObject:
        """
        Give an agent a file, or replace the file of a source: ``createFileSource``, ``updateFileSource``.

        It waits for its turn: an account may make 10 uploads a minute, and refused ones count. A new source
        is not repeated after an ambiguous failure.

        :param name: the source's name.
        :param filename: the file's name, ending in .pdf, .doc, .docx or .txt.
        :param content: its bytes, at most 20 MB.
        :param source_id: the source to replace; by default a new one is made.
        :return: the source.
        """
        agent = self.agent_or_default(agent_id)
        request = (
            sources.create_file_source(agent, name, filename, content)
            if source_id is None
            else sources.update_file_source(agent, source_id, name=name, filename=filename, content=content)
        )
        with UploadPacer(self.connection.settings.api_key).turn():
            return self.client.send(request)

    def get_sources_summary(self, agent_id: str | None = None) -> JsonObject:
        """
        Count an agent's sources by type, with their sizes in bytes: ``getSourcesSummary``.

        :return: ``links``, ``files``, ``qnas``, ``texts``, …, each ``{"count", "size"}``.
        """
        return self._send(sources.get_summary, agent_id)

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

        :param start: only those created at or after this time.
        :param end: only those created at or before this time.
        :param conversation_id: only this one.
        :param channels: only these, by the API's exact names, such as ``Widget or Iframe``.
        :param summary: leave the messages out.
        :return: an iterator that fetches page after page.
        """
        return self._items(
            conversations.export_conversations,
            agent_id,
            start=start,
            end=end,
            conversation_id=conversation_id,
            sources=channels or (),
            summary=summary,
        )

    def search_conversations(
        self,
        agent_id: str | None = None,
        query: str | None = None,
        updated_after: datetime | None = None,
        updated_before: datetime | None = None,
        channels: list[str] | None = None,
        user_ids: list[str] | None = None,
        filters: dict[str, str] | None = None,
    ) -> Iterator[JsonObject]:
        """
        Walk over the conversations that match, without their messages: ``searchConversations``.

        The API looks only at conversations created since the 1st of the month twelve months back.

        :param query: words that must all occur.
        :param updated_after: only those active at or after this time.
        :param updated_before: only those last active at or before this time.
        :param channels: only these channels, by the API's exact names.
        :param user_ids: only these users.
        :param filters: more parameters of the API, by its names, such as ``{"sentiment": "negative"}``.
        :return: an iterator that fetches page after page.
        :raises ChatbasePlanError: when the plan or the agent has no search.
        """
        return self._items(
            conversations.search_conversations,
            agent_id,
            query=query,
            updated_after=updated_after,
            updated_before=updated_before,
            sources=channels or (),
            user_ids=user_ids or (),
            filters=filters,
        )

    def list_tickets(
        self,
        agent_id: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        filters: dict[str, str] | None = None,
    ) -> Iterator[JsonObject]:
        """
        Walk over the tickets of an agent's help desk, the last changed first: ``listTickets``.

        :param created_after: only those created at or after this time.
        :param created_before: only those created at or before this time.
        :param filters: more parameters of the API, by its names, such as ``{"status": "new,on_you"}``,
            ``{"priority": "high,urgent"}`` or ``{"sortBy": "createdAt", "order": "asc"}``.
        :return: an iterator that fetches page after page.
        """
        return self._items(
            conversations.list_tickets,
            agent_id,
            created_after=created_after,
            created_before=created_before,
            filters=filters,
        )

    def get_leads(
        self, agent_id: str | None = None, first_day: date | None = None, last_day: date | None = None
    ) -> Iterator[JsonObject]:
        """
        Walk over the leads that an agent collected: ``getLeads``.

        :param first_day: only those of this day (UTC) or later.
        :param last_day: only those of this day or earlier.
        :return: an iterator that fetches page after page.
        """
        return self._items(v1.get_leads, agent_id, first_day=first_day, last_day=last_day)

    def list_contacts(self, agent_id: str | None = None) -> Iterator[JsonObject]:
        """
        Walk over an agent's contacts: ``listContacts``.

        :return: an iterator that fetches page after page.
        """
        return self._items(v1.list_contacts, agent_id)

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
