"""What an export has to do with the Airflow run that it belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow.sdk import Asset

if TYPE_CHECKING:
    from airflow.sdk import Context

PLACEHOLDER = "{agent_id}"


def output_url(output_path: str, agent_id: str, context: Context) -> str:
    """
    Return the directory of an agent's export.

    :param output_path: as the user gave it.
    :param agent_id: the agent.
    :param context: the task's context; mapped tasks must not write to one directory.
    """
    name = quote(agent_id, safe="")
    if PLACEHOLDER in str(output_path):
        return str(output_path).replace(PLACEHOLDER, name)
    map_index = getattr(context.get("ti"), "map_index", -1)
    if output_path and map_index is not None and map_index >= 0:
        return f"{str(output_path).rstrip('/')}/agent_id={name}"
    return output_path


def attempt_of(context: Context) -> str:
    """
    Return a name for the task instance, the same one for all of its attempts.

    :param context: the task's context.
    """
    ti = context.get("ti")
    names = ("dag_id", "run_id", "task_id", "map_index")
    return "/".join(str(getattr(ti, name, "")) for name in names)


def asset_watermark(outlets: Iterable[Any], context: Context, kind: str, agent_id: str) -> datetime | None:
    """
    Read the watermark from the state of the task's assets, which Airflow keeps from 3.3 on.

    :param outlets: the task's outlets.
    :param context: the task's context.
    :param kind: what is exported.
    :param agent_id: whose.
    :return: the watermark, or ``None`` where there is none.
    """
    from airflow_provider_chatbase.exports.window import read_moment

    for store in _asset_stores(outlets, context):
        if (found := read_moment(store.get(_key(kind, agent_id)))) is not None:
            return found
    return None


def emit_asset_events(outlets: Iterable[Any], context: Context, result: Mapping[str, Any]) -> None:
    """
    Put what was exported into the events of the task's assets, and the watermark into their state.

    :param outlets: the task's outlets.
    :param context: the task's context.
    :param result: what the operator returns.
    """
    extra = {
        name: result[name] for name in ("kind", "agent_id", "rows", "bytes", "window", "watermark", "tables")
    }
    extra["manifest_uri"] = result["manifest_path"]
    for outlet in outlets:
        if isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra.update(extra)
    if result["watermark"] is not None:
        for store in _asset_stores(outlets, context):
            store.set(_key(result["kind"], result["agent_id"]), result["watermark"])


def lineage(result: Mapping[str, Any]) -> Any:
    """
    Describe an export for OpenLineage.

    :param result: what the operator returned.
    """
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.openlineage.extractors import OperatorLineage

    path = urlsplit(str(result["output_path"]))
    bucket = path.netloc.rsplit("@", 1)[-1]
    return OperatorLineage(
        inputs=[
            Dataset(
                namespace="chatbase://www.chatbase.co", name=f"agents/{result['agent_id']}/{result['kind']}"
            )
        ],
        outputs=[
            Dataset(
                namespace=f"{path.scheme or 'file'}://{bucket}" if bucket else "file",
                name=path.path.strip("/") if bucket else path.path,
                facets=_output_facets(result),
            )
        ],
    )


def _output_facets(result: Mapping[str, Any]) -> dict[str, Any]:
    from openlineage.client.facet_v2 import output_statistics_output_dataset

    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        rowCount=result["rows"], size=result["bytes"]
    )
    return {"outputStatistics": statistics}


def _asset_stores(outlets: Iterable[Any], context: Context) -> list[Any]:
    stores = context.get("asset_state_store")
    if stores is None:
        return []
    return [stores[outlet] for outlet in outlets if isinstance(outlet, Asset)]


def _key(kind: str, agent_id: str) -> str:
    return f"chatbase/{kind}/{agent_id}/watermark"
