"""Assets for DAGs that no file holds."""

from __future__ import annotations

from typing import Any


def activate(asset: Any) -> None:
    """Do what Airflow 3.0 does when it reads a file with a DAG, and not in ``dag.test()``."""
    from airflow.models.asset import AssetActive, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        if session.scalar(select(AssetModel).where(AssetModel.name == asset.name)) is None:
            session.add(AssetModel(name=asset.name, uri=asset.uri))
            session.flush()
            session.add(AssetActive.for_asset(asset))
