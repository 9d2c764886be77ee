"""Where and how to reach Chatbase."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from airflow_provider_chatbase.client.errors import (
    ChatbaseConfigurationError,
    ChatbaseError,
    keep_secret,
)
from airflow_provider_chatbase.client.request import ApiVersion, Host, Request

DEFAULT_HOST = "https://www.chatbase.co"
DEFAULT_FILES_HOST = "https://files.chatbase.co"

DEFAULT_MAX_ATTEMPTS = 8

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 30.0
POOL_TIMEOUT = 60.0
LEAST_TOTAL = 120.0
TOTAL_BY_READ = 4.0


HIDDEN = "***"


class Secret(str):
    """A text that no traceback shows and no pickle holds."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(HIDDEN)

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return Secret, (HIDDEN,)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for each stage of a request."""

    connect: float
    read: float  # for the next bytes of the reply, and to get those of the request away
    total: float  # until the reply has ended
    pool: float = POOL_TIMEOUT  # for a free connection


class Observer(Protocol):
    """Is told what a client does, as it happens, on any thread. It neither raises nor waits."""

    def sent(self, request: Request[Any], error: ChatbaseError | None) -> None:
        """Take note of an attempt at a request, and how it failed if it did."""

    def waited(self, request: Request[Any], seconds: float) -> None:
        """Take note of a wait before an attempt: for the rate limit, or after a failure."""

    def paid(self, request: Request[Any], spent: float) -> None:
        """Take note of what an answer cost."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Everything that a client needs to know, checked."""

    api_key: str = field(repr=False)
    host: str = DEFAULT_HOST
    files_host: str = DEFAULT_FILES_HOST
    api_version: ApiVersion = "v2"
    timeout: float | None = None  # seconds of silence for any request; None leaves it to the operation
    total_timeout: float | None = None  # seconds for a request and the whole of its reply
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    proxy: str | None = field(default=None, repr=False)  # None goes by the environment
    ca_bundle: str | None = None  # path of a file with the certificates to trust
    observer: Observer | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Keep what is secret out of messages, tracebacks and pickles."""
        object.__setattr__(self, "api_key", Secret(self.api_key))
        keep_secret(self.api_key)
        if self.proxy is not None:
            object.__setattr__(self, "proxy", Secret(self.proxy))
            for secret in proxy_secrets(self.proxy):
                keep_secret(secret)

    def url(self, host: Host, version: ApiVersion, path: str) -> str:
        """Return the whole URL of a path."""
        base = self.files_host if host == "files" else self.host
        return f"{base}/api/{version}{path}"

    def timeouts(self, patience: float | None) -> Timeouts:
        """Return the timeouts of a request."""
        read = self.timeout or patience or READ_TIMEOUT
        total = self.total_timeout or max(TOTAL_BY_READ * read, LEAST_TOTAL)
        return Timeouts(connect=min(CONNECT_TIMEOUT, self.timeout or CONNECT_TIMEOUT), read=read, total=total)


def base_url(name: str, value: str) -> str:
    """Check and normalise a base URL."""
    text = value.strip()
    url = text if "://" in text else f"https://{text}"
    if "@" in _authority(url):
        raise ChatbaseConfigurationError(
            f"The connection's {name} holds a user name or a password. "
            "Put the API key into the connection's password field."
        )
    parts = _split(url)
    host = ((parts and parts.hostname) or "").lower()
    if parts is None or parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise ChatbaseConfigurationError(
            f"The connection's {name} {value!r} is no base URL. Give one like {DEFAULT_HOST}."
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise ChatbaseConfigurationError(
            f"The connection's {name} {value!r} is plain http, which would send the API key in clear. "
            "Use https; http is allowed to this machine only."
        )
    path = re.sub(r"/api(/v[12])?$", "", parts.path.rstrip("/"))
    return f"{parts.scheme}://{parts.netloc}{path}"


def proxy_secrets(proxy: str) -> list[str]:
    """Return what is secret in a proxy's URL, also where it is none: a password may hold any sign."""
    found = re.search(r"^(?:[a-zA-Z0-9+.-]*://)?([^:@]*):(.*)@", proxy, re.DOTALL)
    return [found[2], unquote(found[2])] if found else [proxy] if "@" in proxy else []


def proxy_url(proxy: str) -> str:
    """Check the URL of a proxy; the message does not show it, since it may hold a password."""
    parts = _split(proxy)
    known = parts is not None and parts.scheme in ("http", "https", "socks5", "socks5h") and parts.hostname
    if not known or (parts and (parts.path.strip("/") or parts.query or parts.fragment)):
        raise ChatbaseConfigurationError(
            "The connection's extra field proxy is no URL like http://user:password@proxy.example:3128. "
            "Signs other than letters and digits in its password are written as in %2F for a slash. "
            "It is not shown here, since it may hold a password."
        )
    return proxy


def is_loopback(hostname: str) -> bool:
    """Say whether a host name is this machine."""
    if hostname == "localhost" or hostname.endswith(".localhost"):
        return True
    try:
        return ip_address(hostname).is_loopback
    except ValueError:
        return False


def _authority(url: str) -> str:
    return re.split("[/?#]", url.partition("://")[2], maxsplit=1)[0]


def _split(url: str) -> SplitResult | None:
    """Split a URL; ``None`` where its host or its port cannot be one."""
    try:
        parts = urlsplit(url)
        valid = parts.port != 0 and not re.search(r"\s", url)
    except ValueError:
        return None
    return parts if valid else None
