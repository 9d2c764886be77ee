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
    export_window = exporter(options)
    now = datetime.now(tz=UTC).replace(microsecond=0)
    return lambda: export_window(now - timedelta(days=400), now)


def exporter(options: argparse.Namespace) -> Callable[[datetime, datetime], int]:
    """Return what exports a window with this package, as a task does it: the watermark is looked at, too."""
    from fsspec.implementations.local import LocalFileSystem

    from airflow_provider_chatbase.client import AsyncChatbaseClient
    from airflow_provider_chatbase.client.settings import ClientSettings
    from airflow_provider_chatbase.client.transport import Transport, load_async_backend
    from airflow_provider_chatbase.exports.export import ExportSettings, Target, export
    from airflow_provider_chatbase.exports.files_target import FileSettings, FilesTarget
    from airflow_provider_chatbase.exports.manifest import read_watermark
    from airflow_provider_chatbase.exports.window import Window
    from airflow_provider_chatbase.files.directory import Directory

    load_async_backend()
    Transport(ClientSettings(api_key=options.key, host=options.url))  # the library imports more at its first
    path = f"{options.path}/ours"
    directory = Directory(LocalFileSystem(), path, f"file://{path}")

    async def client() -> AsyncChatbaseClient:
        return AsyncChatbaseClient(ClientSettings(api_key=options.key, host=options.url))

    def into_files(settings: ExportSettings) -> Target:
        read_watermark(directory, "created")
        return FilesTarget(directory, settings, FileSettings(options.format))

    def into_tables(settings: ExportSettings) -> Target:
        read_delta_watermark(tables, "conversations")
        return DeltaTarget(tables, settings, DeltaSettings())

    target = into_files
    if options.format == "delta":
        from airflow_provider_chatbase.exports.delta import read_watermark as read_delta_watermark
        from airflow_provider_chatbase.exports.delta_target import DeltaSettings, DeltaTarget
        from airflow_provider_chatbase.files.delta_storage import find_storage

        tables, target = find_storage(f"file://{path}"), into_tables

    def run(start: datetime, end: datetime) -> int:
        settings = ExportSettings("conversations", options.agent, Window(start, end))
        return export(client, target(settings), settings).rows

    return run


def repeated(options: argparse.Namespace) -> None:
    """Export one window after the other into one place; print what the runs cost."""
    run, step = exporter(options), timedelta(hours=8)
    end = datetime.now(tz=UTC).replace(microsecond=0)
    seconds: list[float] = []
    rows = 0
    for number in range(options.runs, 0, -1):
        started = time.monotonic()
        rows += run(end - number * step, end - (number - 1) * step)
        seconds.append(time.monotonic() - started)
    print(json.dumps({"rows": rows, "seconds": seconds}))


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
    parser.add_argument("--runs", type=int, default=0, help="so many windows of 8 hours, one after the other")
    options = parser.parse_args()
    if options.runs:
        repeated(options)
        return
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
