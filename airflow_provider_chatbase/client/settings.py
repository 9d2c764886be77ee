"""Where and how to reach Chatbase."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from airflow_provider_chatbase.client.errors import ChatbaseConfigurationError
from airflow_provider_chatbase.client.request import ApiVersion, Host

DEFAULT_HOST = "https://www.chatbase.co"
DEFAULT_FILES_HOST = "https://files.chatbase.co"

DEFAULT_MAX_ATTEMPTS = 8

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 30.0
POOL_TIMEOUT = 60.0
LEAST_TOTAL = 120.0
TOTAL_BY_READ = 4.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for each stage of a request."""

    connect: float
    read: float  # for the next bytes of the reply, and to get those of the request away
    total: float  # until the reply has ended
    pool: float = POOL_TIMEOUT  # for a free connection


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
