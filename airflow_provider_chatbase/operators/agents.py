"""Making, changing, copying and deleting agents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_chatbase.hooks.task_instance import earlier_try_began
from airflow_provider_chatbase.operators._task import ChatbaseOperator, TrainingTask, read_given

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_chatbase.client import ChatbaseClient
    from airflow_provider_chatbase.sync.agents import IfExists

JsonObject = dict[str, Any]


class ChatbaseCreateAgentOperator(TrainingTask):
    """
    Creates an agent, or finds it by its name: ``createAgent``; on v1 ``createChatbot``.

    A retry after a crash, or a clear, finds the agent that the earlier try made: the one of that name which
    was created since the DAG run began (after a clear, since it was due). Follow-ups that Chatbase names in
    ``pendingSteps`` are finished, and the agent is not made again. An ``agent_id``, as from a DAG's
    ``default_args``, is not looked at.

    Returns plain JSON: ``agent_id``, ``name``, ``created``, ``pending_steps`` and ``finished_steps``,
    ``changed`` and ``not_applied`` (settings beyond those that come with the creation).

    :param name: its name, at most 100 characters; by default the ``name`` in the settings.
    :param settings: its settings, by the names that an agent shows (``instructions``, ``model``, ``temp``, …,
        ``styles``, ``autoRetrain``).
    :param settings_path: URL of a YAML or JSON file of settings; ``settings`` goes before it.
    :param url: a website that it is to know from the beginning (v2).
    :param source_text: a text that it is to know from the beginning (v1).
    :param if_exists: for an agent of that name that is there already: ``fail``; ``get`` it as it is;
        ``update`` its settings; or ``create`` another. With ``get`` and ``update``, more than one fail.
    :param wait_for_training: wait until the sources it begins with are trained.
    :param storage_conn_id: the Airflow connection of the storage that ``settings_path`` is on.
    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    template_fields: Sequence[str] = (
        *(field for field in TrainingTask.template_fields if field != "agent_id"),
        "name",
        "settings",
        "settings_path",
        "url",
        "source_text",
        "if_exists",
        "storage_conn_id",
    )
    template_fields_renderers = {"settings": "json"}  # noqa: RUF012
    linked_agent_id = ""

    def __init__(
        self,
        *,
        name: str | None = None,
        settings: JsonObject | None = None,
        settings_path: str | None = None,
        url: str | None = None,
        source_text: str | None = None,
        if_exists: IfExists = "fail",
        storage_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.settings = settings
        self.settings_path = settings_path
        self.url = url
        self.source_text = source_text
        self.if_exists = if_exists
        self.storage_conn_id = storage_conn_id

    def execute(self, context: Context) -> JsonObject:
        """
        Create or find the agent.

        :param context: the task's context.
        :return: the agent's id and what was done.
        """
        with self.hook() as hook:
            from airflow_provider_chatbase.sync.agents import NewAgent, find_or_create_agent

            settings = _declared_settings(self.settings, self.settings_path, self.storage_conn_id)
            wanted = NewAgent(
                name=self.name or settings.pop("name", ""),
                settings={name: value for name, value in settings.items() if name != "name"},
                url=self.url or None,
                source_text=self.source_text or None,
                if_exists=self.if_exists,
                ours_since=earlier_try_began(context),
            )
            result = hook.client.run(find_or_create_agent(hook.client.api, wanted))
            self.linked_agent_id = result["agent_id"]
            self.log.info(
                "%s agent %s, %s; settings changed since: %s.",
                "Created" if result["created"] else "Found",
                result["agent_id"],
                wanted.name,
                ", ".join(result["changed"]) or "none",
            )
            if result["not_applied"]:
                self.log.warning(
                    "Chatbase did not apply: %s. autoRetrain needs something that is trained; set what is "
                    "missing later, with ChatbaseUpdateAgentOperator.",
                    ", ".join(result["not_applied"]),
                )
            if not self.wait_for_training:
                return result
            return _await_all(self, hook.client, result, writes_text=bool(self.source_text))


class ChatbaseUpdateAgentOperator(TrainingTask):
    """
    Changes some of an agent's settings and returns what changed: ``updateAgent`` and its siblings.

    Only settings that differ are sent, so a second run sends nothing. The agent is read again
    afterwards: what is returned is what Chatbase shows, not what was asked for. On v1 the settings that it
    does not show are sent each time.

    Returns plain JSON: ``agent_id``, ``changed`` (``{name: {"from", "to"}}``), ``unchanged`` (names that
    had the wanted value before), ``not_applied`` (names that Chatbase accepted and does not show). Texts of
    more than 200 characters are cut in it.

    :param settings: the settings, by the names that an agent shows (``instructions``, ``model``, ``temp``,
        ``creditLimit``, …, ``styles``, ``autoRetrain``), and ``actions`` and ``procedures``, objects by their
        names, with ``None`` for one that is to go. What is left out stays; ``None`` resets or switches off
        where the API says nullable.
    :param settings_path: URL of a YAML or JSON file of settings; ``settings`` goes before it.
    :param source_text: on v1, a text that replaces all that the agent knows. It is sent each time.
    :param mode: ``apply``, or ``check`` to change nothing and fail when the settings are not as declared.
    :param on_drift: what ``check`` does then: ``fail``, or ``report`` to return it (``drift``, ``differs``).
    :param wait_for_training: on v1, wait until ``source_text`` is trained. On v2 no setting trains anything.
    :param storage_conn_id: the Airflow connection of the storage that ``settings_path`` is on.
    :param agent_id: the agent; by default the connection's.
    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    template_fields: Sequence[str] = (
        *TrainingTask.template_fields,
        "settings",
        "settings_path",
        "source_text",
        "mode",
        "on_drift",
        "storage_conn_id",
    )
    template_fields_renderers = {"settings": "json"}  # noqa: RUF012

    def __init__(
        self,
        *,
        settings: JsonObject | None = None,
        settings_path: str | None = None,
        source_text: str | None = None,
        mode: Literal["apply", "check"] = "apply",
        on_drift: Literal["fail", "report"] = "fail",
        storage_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.settings = settings
        self.settings_path = settings_path
        self.source_text = source_text
        self.mode = mode
        self.on_drift = on_drift
        self.storage_conn_id = storage_conn_id

    def execute(self, context: Context) -> JsonObject:
        """
        Change the settings, or compare them.

        :param context: the task's context.
        :return: what changed.
        :raises ChatbaseDriftError: when a check finds other settings than declared.
        """
        with self.hook() as hook:
            from airflow_provider_chatbase.client.errors import ChatbaseInputError
            from airflow_provider_chatbase.sync.agents import change, compare

            if self.mode not in ("apply", "check") or self.on_drift not in ("fail", "report"):
                raise ChatbaseInputError("mode must be apply or check, and on_drift fail or report.")
            if self.settings is None and not self.settings_path and not self.source_text:
                raise ChatbaseInputError("Give settings or settings_path: there is nothing to change.")
            if self.mode == "check" and self.source_text:
                raise ChatbaseInputError(
                    "source_text cannot be compared, since Chatbase does not show it: leave it out."
                )
            wanted = _declared_settings(self.settings, self.settings_path, self.storage_conn_id)
            agent_id, api = hook.agent_or_default(self.agent_id), hook.client.api
            if self.mode == "check":
                return self._judge(hook.client.run(compare(api, agent_id, wanted)))
            if self.source_text:
                hook.client.run(api.replace_text(agent_id, self.source_text, wanted.get("name")))
            result = hook.client.run(change(api, agent_id, wanted))
            self._report(result)
            if not self.source_text or not self.wait_for_training:
                return result
            return self.await_training(hook.client, agent_id, None, result)

    def _judge(self, comparison: JsonObject) -> JsonObject:
        from airflow_provider_chatbase.sync.errors import ChatbaseDriftError

        lines = [
            f"{name} is {sides['actual']!r}, not {sides['wanted']!r}"
            for name, sides in comparison["differs"].items()
        ]
        if comparison["not_shown"]:
            self.log.warning(
                "Chatbase does not show, so not compared: %s.", ", ".join(comparison["not_shown"])
            )
        if not lines:
            self.log.info("Agent %s has the declared settings.", comparison["agent_id"])
        elif self.on_drift == "report":
            self.log.warning("Agent %s differs: %s.", comparison["agent_id"], "; ".join(lines))
        else:
            raise ChatbaseDriftError(
                f"Agent {comparison['agent_id']} is not as declared: {'; '.join(lines)}. Set it with "
                "mode='apply', or change what is declared."
            )
        return comparison

    def _report(self, result: JsonObject) -> None:
        self.log.info(
            "Agent %s: changed %s; already as wanted: %s.",
            result["agent_id"],
            ", ".join(result["changed"]) or "nothing",
            ", ".join(result["unchanged"]) or "nothing",
        )
        if result["not_applied"]:
            self.log.warning(
                "Chatbase accepted these settings and does not show the wanted value: %s.",
                ", ".join(result["not_applied"]),
            )


class ChatbaseCloneAgentOperator(TrainingTask):
    """
    Copies an agent with its sources, except Notion pages: ``cloneAgent``.

    A retry after a crash, or a clear, finds the copy that the earlier try made: an agent created since the
    DAG run began (after a clear, since it was due), with the original's settings, and named as wanted or
    beginning like the original.

    Returns plain JSON: ``agent_id`` of the copy, ``cloned_from``, ``name``, ``pending_steps``.

    :param name: the copy's name, which no agent may have yet; by default Chatbase chooses one.
    :param wait_for_training: wait until the copy's sources are trained.
    :param agent_id: the agent to copy; by default the connection's.
    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    template_fields: Sequence[str] = (*TrainingTask.template_fields, "name")

    def __init__(self, *, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.name = name

    def execute(self, context: Context) -> JsonObject:
        """
        Copy the agent, or find the copy.

        :param context: the task's context.
        :return: the copy's id.
        """
        with self.hook() as hook:
            from airflow_provider_chatbase.sync.agents import find_or_clone_agent

            agent_id = hook.agent_or_default(self.agent_id)
            steps = find_or_clone_agent(
                hook.client.api, agent_id, self.name or None, earlier_try_began(context)
            )
            result = hook.client.run(steps)
            self.linked_agent_id = result["agent_id"]
            self.log.info(
                "Agent %s is a copy of %s,\nby the name %s.", result["agent_id"], agent_id, result["name"]
            )
            if not self.wait_for_training:
                return result
            return _await_all(self, hook.client, result, writes_text=False)


class ChatbaseDeleteAgentOperator(ChatbaseOperator):
    """
    Deletes an agent with its sources and integrations, for good: ``deleteAgent``; on v1 ``deleteChatbot``.

    Returns plain JSON: ``agent_id``, ``deleted``.

    :param agent_id: the agent. The connection's default is not deleted unasked: it has to be named.
    :param confirm: the same id once more.
    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    template_fields: Sequence[str] = (*ChatbaseOperator.template_fields, "confirm")

    def __init__(self, *, agent_id: str, confirm: str, **kwargs: Any) -> None:
        super().__init__(agent_id=agent_id, **kwargs)
        self.confirm = confirm

    def execute(self, context: Context) -> JsonObject:
        """
        Delete the agent.

        :param context: the task's context.
        :return: what was deleted.
        """
        with self.hook() as hook:
            from airflow_provider_chatbase.client.errors import ChatbaseInputError, ChatbaseNotFoundError

            if not self.agent_id or self.confirm != self.agent_id:
                raise ChatbaseInputError(
                    f"confirm is {self.confirm!r} and agent_id {self.agent_id!r}: deleting an agent is for "
                    "good, so both must be the same id. Nothing was deleted."
                )
            try:
                hook.delete_agent(self.agent_id)
            except ChatbaseNotFoundError:
                if earlier_try_began(context) is None:
                    raise
                self.log.info("An earlier attempt has deleted it.")
            self.log.info("Agent %s is deleted, with its sources and integrations.", self.agent_id)
        return {"agent_id": self.agent_id, "deleted": True}


def _declared_settings(
    settings: JsonObject | None, settings_path: str | None, storage_conn_id: str | None
) -> JsonObject:
    """Put the settings of a file and those given together; those given go before."""
    from airflow_provider_chatbase.client.errors import ChatbaseInputError
    from airflow_provider_chatbase.client.v2.agents import checked_settings
    from airflow_provider_chatbase.files.records import require_json
    from airflow_provider_chatbase.sync.agents import parse_settings

    in_file: JsonObject = {}
    if settings_path:
        content = read_given(settings_path, storage_conn_id, argument="settings_path")
        in_file = parse_settings(content, settings_path)
    declared = checked_settings({**in_file, **checked_settings({} if settings is None else settings)})
    try:
        require_json(declared)
    except ValueError as error:
        raise ChatbaseInputError(f"The settings cannot be sent: {error}. Nothing was sent.") from error
    return declared


def _await_all(
    operator: TrainingTask, client: ChatbaseClient, result: JsonObject, *, writes_text: bool
) -> JsonObject:
    """Wait for all sources of a new agent; one without sources has nothing to train."""
    from airflow_provider_chatbase.sync.agents import source_ids_of

    agent_id = result["agent_id"]
    if not client.api.has_sources:
        return operator.await_training(client, agent_id, None, result) if writes_text else result
    source_ids = client.run(source_ids_of(agent_id))
    return operator.await_training(client, agent_id, source_ids, result) if source_ids else result
