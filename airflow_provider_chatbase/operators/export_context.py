"""What an export has to do with the Airflow run that it belongs to: its paths, its window, its events."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import Asset

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

PLACEHOLDER = "{agent_id}"


def output_url(output_path: str, agent_id: str, context: Context) -> str:
    """Return the directory of an agent's export; mapped tasks must not write to one."""
    name = quote(agent_id, safe="")
    if PLACEHOLDER in str(output_path):
        return str(output_path).replace(PLACEHOLDER, name)
    map_index = getattr(context.get("ti"), "map_index", -1)
    if output_path and map_index is not None and map_index >= 0:
        return f"{str(output_path).rstrip('/')}/agent_id={name}"
    return output_path


def without_connection(url: str) -> str:
    """Return a URL as any reader can open it: without the Airflow connection that may stand in it."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    bucket, slash, path = rest.partition("/")
    return f"{scheme}://{bucket.rpartition('@')[2]}{slash}{path}"


def data_interval(context: Context) -> tuple[datetime | None, datetime | None]:
    """Return the run's data interval."""
    return context.get("data_interval_start"), context.get("data_interval_end")


def export_until(context: Context, now: datetime, margin: timedelta, *, whole_days: bool) -> datetime:
    """
    Return until when to export where no end is given: a scheduled run's moment, else the present.

    Chatbase may show a conversation a moment after it was created, so the present is a margin ago. After a
    midnight that is only just past, the wait is until the day before is settled.
    """
    from airflow_provider_chatbase.exports.window import floor_day

    run_type = str(getattr(context.get("dag_run"), "run_type", "")).rsplit(".", 1)[-1].lower()
    end = context.get("data_interval_end")
    moment = min(end, now) if end is not None and run_type in ("scheduled", "backfill") else now
    if not whole_days:
        return min(moment, now - margin)
    settle(floor_day(moment), now, margin)
    return floor_day(moment)


def settle(end: datetime, now: datetime, margin: timedelta) -> None:
    """Wait until Chatbase shows all that was created before a moment that is just past."""
    seconds = (end + margin - now).total_seconds()
    if end <= now and seconds > 0:
        log.info(
            "The window ended at %s, %.0f seconds ago by Chatbase's clock. Waiting %.0f seconds, since what "
            "was created just before may show a little later.",
            end.astimezone(UTC).isoformat(),
            (now - end).total_seconds(),
            seconds,
        )
        time.sleep(seconds)


def read_salt(operator: Any, context: Context) -> str | None:
    """Return the salt of hashes; it is no template field, since those are shown."""
    from airflow.providers.common.compat.sdk import BaseHook
    from airflow.sdk.log import mask_secret

    salt = operator.redact_salt
    if operator.redact_salt_conn_id:
        salt = BaseHook.get_connection(operator.redact_salt_conn_id).password
    elif isinstance(salt, str) and "{" in salt:
        salt = operator.render_template(salt, context)
    if salt:
        mask_secret(salt)
    return salt or None


def emit_asset_events(outlets: Iterable[Any], context: Context, result: Mapping[str, Any]) -> None:
    """Put what was exported into the events of the task's assets."""
    names = ("kind", "agent_id", "rows", "bytes", "window", "watermark", "tables")
    extra = {name: result[name] for name in names}
    extra["manifest_uri"] = result["manifest_path"]
    for outlet in outlets:
        if isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra.update(extra)


def lineage(result: Mapping[str, Any]) -> Any:
    """Describe an export for OpenLineage."""
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.facet_v2 import output_statistics_output_dataset

    scheme, separator, rest = without_connection(str(result["output_path"])).partition("://")
    bucket, _, path = rest.partition("/") if separator else ("", "", scheme)
    statistics: Any = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        rowCount=result["rows"], size=result["bytes"]
    )
    return OperatorLineage(
        inputs=[
            Dataset(
                namespace="chatbase://www.chatbase.co", name=f"agents/{result['agent_id']}/{result['kind']}"
            )
        ],
        outputs=[
            Dataset(
                namespace=f"{scheme}://{bucket}" if bucket else "file",
                name=path.strip("/") if bucket else (f"/{path}" if separator else path),
                facets={"outputStatistics": statistics},
            )
        ],
    )
