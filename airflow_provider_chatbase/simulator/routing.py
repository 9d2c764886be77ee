"""Which operation a method and a path mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from airflow_provider_chatbase.simulator.exchange import Request
from airflow_provider_chatbase.simulator.world import Operation


@dataclass(frozen=True, slots=True)
class Route:
    """
    One operation of the API.

    :param method: HTTP method.
    :param path: path template with ``{parameters}``, from ``/api/…`` on.
    :param operation: operationId of the API description.
    :param handler: what it does.
    :param multipart: whether it is the one of the path that takes a form with files.
    :param paced: whether it waits for its latency by itself.
    :param open: whether it needs no key.
    """

    method: str
    path: str
    operation: str
    handler: Operation
    multipart: bool = False
    paced: bool = False
    open: bool = False


class Router:
    """All routes, found by their shape."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_shape: dict[tuple[str, bool, int], list[tuple[list[str], Route]]] = {}
        for route in routes:
            steps = route.path.strip("/").split("/")
            shape = (route.method, route.multipart, len(steps))
            self._by_shape.setdefault(shape, []).append((steps, route))
        for candidates in self._by_shape.values():
            candidates.sort(key=lambda candidate: sum(step.startswith("{") for step in candidate[0]))

    def find(self, request: Request) -> tuple[Route, dict[str, str]] | None:
        """Return the route of a request and its path parameters; fixed names win over parameters."""
        steps = request.path.strip("/").split("/")
        for template, route in self._by_shape.get((request.method, request.is_multipart, len(steps)), ()):
            params = _match(template, steps)
            if params is not None:
                return route, params
        return None


def _match(template: list[str], steps: list[str]) -> dict[str, str] | None:
    params: dict[str, str] = {}
    for expected, step in zip(template, steps, strict=True):
        if expected.startswith("{"):
            if not step:
                return None
            params[expected[1:-1]] = unquote(step)
        elif expected != step:
            return None
    return params
