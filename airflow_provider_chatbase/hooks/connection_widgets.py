"""The form's extra fields as wtforms fields, which only Airflow before 3.2 asks for."""

from __future__ import annotations

from typing import Any

FIELD_BY_TYPE = {"integer": "IntegerField", "number": "FloatField", "string": "StringField"}


def widgets(fields: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """
    Build the fields.

    :param fields: name to label, description and JSON schema.
    :return: name to wtforms field; empty where wtforms is not installed, since the form then has none.
    """
    try:
        import wtforms
    except ImportError:
        return {}

    def build(spec: dict[str, Any]) -> Any:
        kind = spec["schema"]["type"]
        field = getattr(wtforms, FIELD_BY_TYPE[kind if isinstance(kind, str) else kind[0]])
        checks = [wtforms.validators.Optional()]
        if "enum" in spec["schema"]:
            checks.append(wtforms.validators.any_of(spec["schema"]["enum"]))
        return field(
            spec["label"],
            description=spec["description"],
            default=spec["schema"].get("default"),
            validators=checks,
        )

    return {name: build(spec) for name, spec in fields.items()}
