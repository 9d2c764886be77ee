"""Which of an agent's settings differ from the wanted ones."""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]


def differing(wanted: JsonObject, agent: JsonObject) -> JsonObject:
    """
    Return the settings that the agent does not have yet.

    :param wanted: settings by the API's names; ``None`` asks for a reset.
    :param agent: the agent, as the API gave it.
    :return: those of ``wanted`` whose value differs, or which the API does not show.
    """
    return {
        name: value for name, value in wanted.items() if name not in agent or not is_met(value, agent[name])
    }


def is_met(wanted: Any, actual: Any) -> bool:
    """
    Say whether a setting has the wanted value. In an object, what is not named may be anything.

    :param wanted: the wanted value.
    :param actual: the value that the API shows.
    """
    if isinstance(wanted, dict) and isinstance(actual, dict):
        return all(name in actual and is_met(value, actual[name]) for name, value in wanted.items())
    if isinstance(wanted, bool) or isinstance(actual, bool):
        return wanted is actual
    return bool(wanted == actual)


def changes(names: list[str], before: JsonObject, after: JsonObject) -> dict[str, JsonObject]:
    """
    Return what became of settings.

    :param names: the settings to look at.
    :param before: the agent before.
    :param after: the agent after.
    :return: ``{name: {"from", "to"}}`` for those that changed.
    """
    return {
        name: {"from": before.get(name), "to": after.get(name)}
        for name in names
        if before.get(name) != after.get(name)
    }
