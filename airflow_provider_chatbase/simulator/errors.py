"""Errors as the API states them: v2 with a code in an envelope, v1 with a message alone."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_provider_chatbase.simulator.exchange import Reply


class ApiError(Exception):
    """
    A refusal by the API.

    :param status: HTTP status.
    :param code: the machine-readable code of API v2.
    :param message: the sentence for people.
    :param details: for validation errors, the reason per field.
    :param headers: extra reply headers.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.headers = dict(headers or {})

    def reply(self, version: str) -> Reply:
        """Return the reply that carries this error in the given API version."""
        if version == "v1":
            return Reply(self.status, {"message": self.message}, headers=self.headers)
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.details:
            error["details"] = dict(self.details)
        return Reply(self.status, {"error": error}, headers=self.headers)


def invalid(details: Mapping[str, str], message: str = "Invalid request") -> ApiError:
    """Return the validation error for the given fields."""
    return ApiError(400, "VALIDATION_INVALID_BODY", message, details=details)


def not_found(code: str, what: str) -> ApiError:
    """Return the 404 for a thing that does not exist or belongs to someone else."""
    return ApiError(404, code, f"{what} not found")
