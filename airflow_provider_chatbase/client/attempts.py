"""What the attempts at one request have in common: their limiter, and the fate of the earlier ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from airflow_provider_chatbase.client.errors import (
    ChatbaseApiError,
    ChatbaseError,
    ChatbaseRateLimitError,
)
from airflow_provider_chatbase.client.rate_limiter import shared_limiter
from airflow_provider_chatbase.client.replies import Reply, read_reply
from airflow_provider_chatbase.client.request import Request
from airflow_provider_chatbase.client.settings import ClientSettings, require_version

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Whole(Generic[Result]):
    """
    The result of a reply that came as one document, although a stream was asked for.

    :param result: what the request's reader made of it.
    """

    result: Result


class Attempts(Generic[Result]):
    """
    The attempts at one request.

    :param settings: where and how to reach Chatbase.
    :param hold: the seconds for which a refusal for their number lets all requests of the key hold.
    :param request: what is to be sent.
    :raises ChatbaseUnsupportedError: when the connection's API version does not have the operation.
    """

    def __init__(
        self,
        settings: ClientSettings,
        hold: Callable[[ChatbaseError], float],
        request: Request[Result],
    ) -> None:
        require_version(settings, request)
        self.request = request
        self.limiter = shared_limiter(settings, request.host)
        self._hold = hold
        self._fate_unknown = False
        self._went_at = time.monotonic()

    def read(self, reply: Reply) -> Result:
        """
        Read a reply, and let the limiter learn from it.

        :param reply: what came back.
        :raises ChatbaseError: when it is no success.
        """
        self.learn(reply.headers)
        return read_reply(self.request, reply, time.time())

    def learn(self, headers: Mapping[str, str]) -> None:
        """
        Let the limiter learn from the beginning of a reply.

        :param headers: its headers, with lower-case names.
        """
        self.limiter.learn(headers, time.monotonic() - self._went_at)

    @contextmanager
    def on_its_way(self) -> Iterator[None]:
        """Send within this block, once the limiter has let it go: takes note of how that ends."""
        self._went_at = time.monotonic()
        try:
            yield
        except ChatbaseRateLimitError as error:
            self.limiter.hold(self._hold(error))
            raise
        except ChatbaseError as error:
            if error.ambiguous:
                self._fate_unknown = True
            raise
        finally:
            self.limiter.done()

    def settled_by(self, error: ChatbaseError) -> Result:
        """
        Return the result, when a refusal says that the wanted state is already there.

        :param error: how the last attempt failed.
        :raises ChatbaseError: the same error, when it does not say so.
        """
        code = error.code if isinstance(error, ChatbaseApiError) else None
        if code is not None and code in self.request.means_done:
            return self.request.means_done[code]
        if code is not None and self._fate_unknown and code in self.request.means_done_on_repeat:
            return self.request.means_done_on_repeat[code]
        raise error
