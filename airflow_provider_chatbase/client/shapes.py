"""Readers for the shapes in which the API wraps what it returns. Unknown fields pass through."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_chatbase.client.replies import UnexpectedShapeError
from airflow_provider_chatbase.client.request import Json, JsonObject


@dataclass(frozen=True, slots=True)
class Page:
    """
    One page of a listing.

    :param items: the objects, as the API gave them.
    :param cursor: where the next page starts; ``None`` on the last.
    :param total: how many match in all, where the operation says so.
    """

    items: list[JsonObject]
    cursor: str | None
    total: int | None


def bare_object(reply: Json) -> JsonObject:
    """
    Read a reply that is the object itself.

    :param reply: the decoded JSON.
    :return: the object.
    :raises UnexpectedShapeError: when it is none.
    """
    if not isinstance(reply, dict):
        raise UnexpectedShapeError(f"an object was promised, and {_kind(reply)} came")
    return reply


def identified(reply: Json) -> JsonObject:
    """
    Read a reply that is an object with an ``id``.

    :param reply: the decoded JSON.
    :return: the object.
    :raises UnexpectedShapeError: when it is no object, or has no id.
    """
    found = bare_object(reply)
    if not isinstance(found.get("id"), str) or not found["id"]:
        raise UnexpectedShapeError("an object with an id was promised, and one without came")
    return found


def success(reply: Json) -> JsonObject:
    """
    Read ``{"success": true}``.

    :param reply: the decoded JSON.
    :return: the object.
    :raises UnexpectedShapeError: when it does not say success.
    """
    found = bare_object(reply)
    if found.get("success") is not True:
        raise UnexpectedShapeError("success: true was promised, and did not come")
    return found


def data_object(reply: Json) -> JsonObject:
    """
    Read ``{"data": {…}}``.

    :param reply: the decoded JSON.
    :return: the inner object.
    :raises UnexpectedShapeError: when there is none.
    """
    data = bare_object(reply).get("data")
    if not isinstance(data, dict):
        raise UnexpectedShapeError(f"an object under data was promised, and {_kind(data)} came")
    return data


def page(reply: Json) -> Page:
    """
    Read ``{"data": […], "pagination": {"cursor", "hasMore", "total"?}}``.

    :param reply: the decoded JSON.
    :return: the page.
    :raises UnexpectedShapeError: when the items or the pagination are missing.
    """
    found = bare_object(reply)
    items, pagination = found.get("data"), found.get("pagination")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UnexpectedShapeError(f"a list of objects under data was promised, and {_kind(items)} came")
    if not isinstance(pagination, dict):
        raise UnexpectedShapeError("pagination was promised, and is missing")
    cursor = pagination.get("cursor")
    more = bool(pagination.get("hasMore")) and isinstance(cursor, str) and cursor != ""
    return Page(items=items, cursor=cursor if more else None, total=_count(pagination.get("total")))


def listed(items: Json, total: Json = None) -> Page:
    """
    Read a page that has no cursor.

    :param items: the list of objects.
    :param total: how many there are in all, where the reply says so.
    :return: the page.
    :raises UnexpectedShapeError: when it is no list of objects.
    """
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UnexpectedShapeError(f"a list of objects was promised, and {_kind(items)} came")
    return Page(items=items, cursor=None, total=_count(total))


def _count(value: Json) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value)


def _kind(value: Json) -> str:
    names = {dict: "an object", list: "a list", str: "text", type(None): "nothing", bool: "true or false"}
    return names.get(type(value), "a number")
