"""The hook's calls on what an agent learns from."""

from __future__ import annotations

from typing import Any

from airflow_provider_chatbase.client.rate_limiter import UploadPacer
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.client.v2 import sources
from airflow_provider_chatbase.hooks.connection import ConnectedHook


class SourceCalls(ConnectedHook):
    """What an agent learns from: texts, questions with answers, web pages, files."""

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
