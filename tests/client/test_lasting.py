"""Which failures pass by themselves, and which stay until somebody acts: the whole table."""

from __future__ import annotations

import errno
import json
import socket
import ssl

import pytest

from airflow_provider_chatbase.client import errors
from airflow_provider_chatbase.client.lasting import is_lasting
from airflow_provider_chatbase.client.replies import Reply, read_reply
from airflow_provider_chatbase.client.request import Request
from airflow_provider_chatbase.client.transport import httpx

LASTING = {
    *("EPERM", "EACCES", "EROFS", "ENOTDIR", "EISDIR", "EEXIST", "ENAMETOOLONG", "ELOOP", "EILSEQ", "EINVAL"),
    *("EXDEV", "ENODEV", "ENXIO", "ENOTBLK", "EBADF", "ESPIPE", "ENOSYS", "EOPNOTSUPP", "ENOTSUP", "ENOEXEC"),
    *("EFBIG", "EMLINK", "EPROTONOSUPPORT", "EAFNOSUPPORT", "EDESTADDRREQ"),
}


@pytest.mark.parametrize("name", sorted(set(errno.errorcode.values()) | LASTING))
def test_errno(name):
    same = {each for each in vars(errno) if getattr(errno, each) == getattr(errno, name)}
    assert is_lasting(OSError(getattr(errno, name), "x")) is bool(same & LASTING)


@pytest.mark.parametrize(
    "name", ["EBUSY", "ESTALE", "EIO", "EMFILE", "ENETUNREACH", "EHOSTDOWN", "ECONNRESET", "ENOENT", "ENOSPC"]
)
def test_what_passes(name):
    assert not is_lasting(OSError(getattr(errno, name), "x"))


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


class StatusError(Exception):
    def __init__(self, status: object) -> None:
        self.status_code = status


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError("no number"), False),
        (PermissionError("no number"), True),
        (NotImplementedError(), True),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), True),
        (caused(httpx.ConnectError("x"), ssl.SSLCertVerificationError(1, "bad")), True),
        (ssl.SSLEOFError(8, "EOF occurred"), False),
        (socket.gaierror(-3, "Temporary failure in name resolution"), False),
        (TimeoutError(), False),
        (StatusError(403), True),
        (StatusError("404"), True),
        (StatusError(407), True),
        (StatusError(429), False),
        (StatusError(503), False),
        (StatusError(None), False),
    ],
    ids=repr,
)
def test_others(error, expected):
    assert is_lasting(error) is expected


def refused(status: int, body: bytes, kind: str = "application/json") -> errors.ChatbaseError:
    request = Request("doThing", "POST", "/thing", lambda reply: reply, repeatable=False)
    with pytest.raises(errors.ChatbaseError) as raised:
        read_reply(request, Reply(status, {"content-type": kind}, body), 0)
    return raised.value


@pytest.mark.parametrize(
    ("code", "permanent"),
    [
        ("CHAT_CONVERSATION_NOT_ONGOING", True),
        ("CHAT_CONVERSATION_MISMATCH", True),
        ("SOURCE_DUPLICATE", True),
        ("SOURCE_IS_TRAINING", False),
        ("AGENT_NOT_TRAINED", False),
    ],
)
def test_conflicts(code, permanent):
    error = refused(409, json.dumps({"error": {"code": code, "message": "no"}}).encode())
    assert (error.permanent, error.transient, error.ambiguous) == (permanent, False, False)


def test_a_proxy_that_wants_a_password_is_a_wrong_setting():
    error = refused(407, b"<html>", "text/html")
    assert isinstance(error, errors.ChatbaseConfigurationError)
    assert "proxy field" in str(error)


@pytest.mark.parametrize("status", [400, 403, 404, 408, 409, 425, 499])
def test_only_the_api_itself_knows_that_it_did_not_do_the_work(status):
    assert refused(status, b"<html>Gateway</html>", "text/html").ambiguous
    assert not refused(status, b'{"message": "Missing chatbotId."}').ambiguous
    assert not refused(status, b'{"error": {"code": "SOME_CODE"}}').ambiguous
