"""The shapes in which the API wraps what it returns."""

from __future__ import annotations

import pytest

from airflow_provider_chatbase.client.replies import (
    Page,
    UnexpectedShapeError,
    bare_object,
    data_object,
    identified,
    page,
    success,
)

NO_OBJECTS = [None, [], [{}], "text", 7, 1.5, True]


@pytest.mark.parametrize("reply", NO_OBJECTS, ids=repr)
@pytest.mark.parametrize("reader", [bare_object, identified, success, data_object, page])
def test_no_reader_takes_what_is_no_object(reader, reply):
    with pytest.raises(UnexpectedShapeError, match=r"an object was promised, and .+ came"):
        reader(reply)


@pytest.mark.parametrize("reader", [bare_object, identified, success])
def test_unknown_fields_pass_through(reader):
    reply = {"id": "x", "success": True, "brandNew": {"deep": [1]}}
    assert reader(reply) == reply


@pytest.mark.parametrize("reply", [{}, {"id": None}, {"id": ""}, {"id": 7}], ids=repr)
def test_identified_wants_an_id(reply):
    with pytest.raises(UnexpectedShapeError, match="an id"):
        identified(reply)


@pytest.mark.parametrize("reply", [{}, {"success": False}, {"success": "true"}, {"success": 1}], ids=repr)
def test_success_wants_true(reply):
    with pytest.raises(UnexpectedShapeError, match="success: true"):
        success(reply)


def test_data_object_is_the_inner_object():
    assert data_object({"data": {"id": "x", "new": 1}, "beside": 2}) == {"id": "x", "new": 1}


@pytest.mark.parametrize(
    ("reply", "came"),
    [({}, "nothing"), ({"data": None}, "nothing"), ({"data": []}, "a list"), ({"data": "x"}, "text")],
    ids=repr,
)
def test_data_object_wants_an_object(reply, came):
    with pytest.raises(UnexpectedShapeError, match=f"under data was promised, and {came} came"):
        data_object(reply)


@pytest.mark.parametrize(
    ("pagination", "cursor", "total"),
    [
        pytest.param({"cursor": "c1", "hasMore": True, "total": 42}, "c1", 42, id="more"),
        pytest.param({"cursor": None, "hasMore": False, "total": 1}, None, 1, id="last"),
        pytest.param({"cursor": "c1", "hasMore": False, "total": 1}, None, 1, id="a cursor, and no more"),
        pytest.param({"cursor": "c1", "total": 9}, "c1", 9, id="a cursor, and nothing of more"),
        pytest.param({"cursor": None, "total": 1}, None, 1, id="neither"),
        pytest.param({"cursor": "c1", "hasMore": True}, "c1", None, id="no total"),
        pytest.param({"cursor": "c1", "hasMore": True, "total": None}, "c1", None, id="null total"),
        pytest.param({"cursor": "c1", "hasMore": True, "total": 142.0}, "c1", 142, id="with a point"),
        pytest.param({"cursor": "c1", "hasMore": True, "total": "142"}, "c1", None, id="a total as text"),
        pytest.param({"cursor": "c1", "hasMore": True, "total": True}, "c1", None, id="a total as bool"),
        pytest.param({"cursor": "c1", "hasMore": True, "total": 0}, "c1", 0, id="a total of none"),
    ],
)
def test_page(pagination, cursor, total):
    items = [{"id": "a", "new": 1}, {"id": "b"}]
    assert page({"data": items, "pagination": {**pagination, "new": 1}}) == Page(items, cursor, total)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ({"pagination": {}}, "a list of objects under data was promised, and nothing came"),
        ({"data": {}, "pagination": {}}, "and an object came"),
        ({"data": ["x"], "pagination": {}}, "and a list came"),
        ({"data": []}, "pagination was promised, and is missing"),
        ({"data": [], "pagination": []}, "pagination was promised"),
    ],
)
def test_a_page_without_items_or_pagination(reply, words):
    with pytest.raises(UnexpectedShapeError, match=words):
        page(reply)
