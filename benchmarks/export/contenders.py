"""One way to export, in a process of its own: prints rows, seconds, CPU and memory as JSON."""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

Run = Callable[[], int]
"""Exports, and says how many conversations; its imports are done before."""


def ours(options: argparse.Namespace) -> Run:
    """Export with this package."""
    import httpcore  # noqa: F401 - httpx imports it at its first client
    from fsspec.implementations.local import LocalFileSystem

    from airflow_provider_chatbase.client import AsyncChatbaseClient
    from airflow_provider_chatbase.client.settings import ClientSettings
    from airflow_provider_chatbase.client.transport import load_async_backend
    from airflow_provider_chatbase.exports.export import ExportSettings, export
    from airflow_provider_chatbase.exports.files_target import FileSettings, FilesTarget
    from airflow_provider_chatbase.exports.window import Window
    from airflow_provider_chatbase.files.directory import Directory

    load_async_backend()

    async def client() -> AsyncChatbaseClient:
        return AsyncChatbaseClient(ClientSettings(api_key=options.key, host=options.url))

    now = datetime.now(tz=UTC).replace(microsecond=0)
    settings = ExportSettings("conversations", options.agent, Window(now - timedelta(days=400), now))
    directory = Directory(LocalFileSystem(), f"{options.path}/ours", f"file://{options.path}/ours")
    target = FilesTarget(directory, settings, FileSettings(options.format))
    return lambda: export(client, target, settings).rows


def sequential(options: argparse.Namespace) -> Run:
    """Export with a loop over httpx, page after page."""
    import httpcore  # noqa: F401 - httpx imports it at its first client
    import httpx

    def run() -> int:
        rows, query, url = 0, {"limit": "20"}, f"{options.url}{_endpoint(options)}"
        with (
            httpx.Client(headers=_headers(options), timeout=30) as client,
            _target(options).open("w") as target,
        ):
            while True:
                reply = client.get(url, params=query).raise_for_status().json()
                rows += _write(target, reply["data"])
                if not reply["pagination"]["cursor"]:
                    return rows
                query["cursor"] = reply["pagination"]["cursor"]

    return run


def http_operator(options: argparse.Namespace) -> Run:
    """Export with Airflow's HttpOperator and its pagination function."""
    os.environ["AIRFLOW_CONN_CHATBASE_HTTP"] = json.dumps({"conn_type": "http", "host": options.url})
    from airflow.providers.http.operators.http import HttpOperator

    def next_page(response: Any) -> dict[str, Any] | None:
        cursor = response.json()["pagination"]["cursor"]
        return {"data": {"cursor": cursor}} if cursor else None

    operator = HttpOperator(
        task_id="export",
        http_conn_id="chatbase_http",
        endpoint=_endpoint(options),
        method="GET",
        data={"limit": "20"},
        headers=_headers(options),
        pagination_function=next_page,
        response_filter=lambda responses: [response.json()["data"] for response in responses],
    )

    def run() -> int:
        pages = operator.execute({})
        with _target(options).open("w") as target:
            return sum(_write(target, page) for page in pages)

    return run


def dlt(options: argparse.Namespace) -> Run:
    """Export with dlt's REST client."""
    from dlt.sources.helpers.rest_client import RESTClient
    from dlt.sources.helpers.rest_client.paginators import JSONResponseCursorPaginator

    client = RESTClient(
        base_url=options.url,
        headers=_headers(options),
        paginator=JSONResponseCursorPaginator(cursor_path="pagination.cursor", cursor_param="cursor"),
        data_selector="data",
    )

    def run() -> int:
        pages = client.paginate(_endpoint(options), params={"limit": "20"})
        with _target(options).open("w") as target:
            return sum(_write(target, page) for page in pages)

    return run


CONTENDERS: dict[str, Callable[[argparse.Namespace], Run]] = {
    "ours": ours,
    "httpx loop": sequential,
    "HttpOperator": http_operator,
    "dlt": dlt,
}


def _endpoint(options: argparse.Namespace) -> str:
    return f"/api/v2/agents/{options.agent}/conversations/export"


def _headers(options: argparse.Namespace) -> dict[str, str]:
    return {"Authorization": f"Bearer {options.key}"}


def _target(options: argparse.Namespace) -> Path:
    return Path(options.path) / "conversations.jsonl"


def _write(target: Any, conversations: Any) -> int:
    target.writelines(json.dumps(each, ensure_ascii=False) + "\n" for each in conversations)
    return len(conversations)


def main() -> None:
    """Run the contender that is named."""
    parser = argparse.ArgumentParser()
    for name in ("contender", "url", "key", "agent", "path"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--format", default="jsonl")
    options = parser.parse_args()
    run = CONTENDERS[options.contender](options)
    started, cpu = time.monotonic(), time.process_time()
    rows = run()
    figures = {
        "rows": rows,
        "seconds": time.monotonic() - started,
        "cpu": time.process_time() - cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
