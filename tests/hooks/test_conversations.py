"""Conversations are paused, resumed, ended and deleted, whichever of the two documents the API follows."""

from __future__ import annotations

import pytest

from airflow_provider_chatbase.exceptions import ChatbaseUnsupportedError, ChatbaseValidationError
from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook
from airflow_provider_chatbase.simulator import Fault


@pytest.fixture
def hook(simulator, connect):
    connect(simulator)
    with ChatbaseHook() as hook:
        yield hook


@pytest.fixture
def widget(simulator):
    """A conversation of another channel, which the API shows only in an export."""
    found = simulator.store.conversations(simulator.agent_id)
    return next(each for each in found if each.source != "API" and each.status == "ongoing")


FORMS = {"both": None, "only paused": "status", "only status": "paused"}


@pytest.fixture(params=FORMS)
def form(request, simulator):
    refused = FORMS[request.param]
    if refused is not None:
        simulator.faults.add(
            Fault(
                kind="status",
                status=400,
                code="VALIDATION_INVALID_BODY",
                operation="updateConversation",
                where=lambda received: f'"{refused}"'.encode() in received.body.split(b":")[0],
            )
        )
    return request.param


def test_pause_and_resume(hook, widget, form):
    assert hook.pause_conversation(widget.id)["status"] == widget.status == "paused"
    assert hook.resume_conversation(widget.id)["status"] == widget.status == "ongoing"


def test_end_and_resume_what_has_ended(hook, widget, form):
    if form == "only paused":
        with pytest.raises(ChatbaseUnsupportedError, match="no way to set the status 'ended'"):
            hook.end_conversation(widget.id)
        return
    assert hook.end_conversation(widget.id)["status"] == widget.status == "ended"
    assert hook.resume_conversation(widget.id)["status"] == widget.status == "ongoing"


def test_an_end_without_effect_is_told(simulator, hook, widget):
    simulator.faults.add(
        Fault(
            kind="status",
            status=200,
            operation="updateConversation",
            body='{"data": {"id": "c", "status": "ongoing"}}',
            content_type="application/json",
        )
    )
    with pytest.raises(ChatbaseUnsupportedError, match=r"accepted the status 'ended', .* still ongoing"):
        hook.end_conversation(widget.id)


@pytest.mark.parametrize("status", ["taken_over", "ended"])
def test_a_pause_changes_no_other_status(hook, widget, status):
    widget.status = status
    with pytest.raises(ChatbaseValidationError):
        hook.pause_conversation(widget.id)
    assert widget.status == status


def test_delete(simulator, hook, widget):
    simulator.faults.add(Fault(kind="reset_after", operation="deleteConversation", times=1))
    hook.delete_conversation(widget.id)
    assert simulator.store.conversation(simulator.agent_id, widget.id) is None
    assert hook.delete_conversation(widget.id) is False


def test_a_single_conversation_or_none_on_v1(simulator, connect):
    connect(simulator, extra={"api_version": "v1"})
    with ChatbaseHook() as hook, pytest.raises(ChatbaseUnsupportedError, match="get a single conversation"):
        hook.export_conversations(conversation_id="c-1")
