"""A real agent: shown before it is changed, and put back as it was."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from airflow_provider_chatbase.client import ChatbaseClient, ClientSettings
from airflow_provider_chatbase.client.settings import DEFAULT_FILES_HOST, DEFAULT_HOST, base_url
from airflow_provider_chatbase.client.v2 import agents, sources
from airflow_provider_chatbase.exceptions import ChatbaseError
from quickstart_demo.chatbase_service import ChatbaseService
from quickstart_demo.errors import DemoError

INSTRUCTIONS = "You are the support agent of a parcel service. Answer in short sentences."


class LiveAgent:
    """
    An agent that customers may talk to.

    :param service: where it is.
    :param note: a file that says what the agent was like, as long as it is not put back.
    """

    def __init__(self, service: ChatbaseService, note: Path) -> None:
        self._note = note
        self._id = service.agent_id
        # A name of the run's own: a source of the usual one may be the customer's, and would be overwritten.
        self.source_name = f"airflow-provider-chatbase demo {os.urandom(4).hex()}"
        self._before: dict[str, Any] = {}
        host = base_url("CHATBASE_BASE_URL", service.base_url or DEFAULT_HOST)
        files = host if service.base_url else DEFAULT_FILES_HOST
        self._settings = ClientSettings(service.api_key, host, files, max_attempts=3)

    def look(self) -> str:
        """Return what the agent is like; raise ``DemoError`` where the key does not open it."""
        if self._note.exists():
            raise DemoError(
                f"An earlier run could not put an agent back as it was. What it was like is in {self._note}: "
                "put its instructions back by hand, then delete that file."
            )
        try:
            with ChatbaseClient(self._settings) as client:
                self._before = client.send(agents.get_agent(self._id))
        except ChatbaseError as error:
            raise DemoError(f"The agent {self._id} cannot be used: {error}") from None
        instructions = str(self._before.get("instructions") or "")
        return (
            f"agent         {self._before.get('name')!r} ({self._id}) at {self._settings.host}\n"
            f"status        {self._before.get('status')}, last message {self._before.get('lastMessageAt')}\n"
            f"instructions  {instructions[:200]!r}{' ...' if len(instructions) > 200 else ''}\n"
            "The demo replaces the instructions, adds a text to the sources, asks one question and pays for "
            "its answer; in the end the instructions are put back, and the text is deleted."
        )

    def keep(self) -> None:
        """Write down what the agent is like, before anything is changed."""
        note = {
            "agent": self._id,
            "instructions": self._before["instructions"],
            "delete_source_named": self.source_name,
        }
        self._note.touch(mode=0o600)
        self._note.write_text(json.dumps(note, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def put_back(self) -> str:
        """Undo what the run did, and say what was undone; raise ``DemoError`` where that fails."""
        done = []
        try:
            with ChatbaseClient(self._settings) as client:
                if client.send(agents.get_agent(self._id)).get("instructions") == INSTRUCTIONS:
                    before = {"instructions": self._before["instructions"]}
                    client.send(agents.update_agent(self._id, before))
                    done.append("its instructions are put back")
                listing = sources.list_sources(self._id, types=["text"], name=self.source_name)
                for source in list(client.items(listing)):
                    if source["name"] == self.source_name:
                        client.send(sources.delete_source(self._id, source["id"]))
                        done.append("the demo's text is deleted")
        except ChatbaseError as error:
            raise DemoError(
                f"The agent {self._id} could not be put back as it was: {error} "
                f"What it was like is in {self._note}: put it back by hand, then delete that file."
            ) from None
        self._note.unlink()
        return f"The agent is as it was: {' and '.join(done) or 'nothing had been changed'}"
