"""What a task tells others of what it wrote: the events of its assets, and OpenLineage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

if TYPE_CHECKING:
    from airflow.sdk import Context


def without_connection(url: str) -> str:
    """Return a URL as any reader can open it: without the Airflow connection that may stand in it."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    bucket, slash, path = rest.partition("/")
    return f"{scheme}://{bucket.rpartition('@')[2]}{slash}{path}"


def emit_asset_events(
    outlets: Iterable[Any], context: Context, result: Mapping[str, Any], names: Sequence[str]
) -> None:
    """Put what these names hold in a task's result, and where its manifest is, into its assets' events."""
    extra = {**{name: result[name] for name in names}, "manifest_uri": result["manifest_path"]}
    for outlet in outlets:
        if isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra.update(extra)


def lineage(read: str, output_path: str, *, rows: int, size: int | None = None) -> Any:
    """Describe for OpenLineage what was read at Chatbase, and written where."""
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.facet_v2 import output_statistics_output_dataset

    scheme, separator, rest = without_connection(output_path).partition("://")
    bucket, _, path = rest.partition("/") if separator else ("", "", scheme)
    facet: Any = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet
    statistics = facet(rowCount=rows, size=size)
    target = path.strip("/") if bucket else (f"/{path}" if separator else path)
    namespace = f"{scheme}://{bucket}" if bucket else "file"
    return OperatorLineage(
        inputs=[Dataset(namespace="chatbase://www.chatbase.co", name=read)],
        outputs=[Dataset(namespace=namespace, name=target, facets={"outputStatistics": statistics})],
    )
