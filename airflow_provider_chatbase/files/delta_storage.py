"""Where Delta tables lie, and what deltalake must know to write there, by the Airflow connection."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow_provider_chatbase.files import ChatbaseOutputError, ChatbaseStorageError
from airflow_provider_chatbase.files.directory import require_connection

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from deltalake import DeltaTable

Options = dict[str, str]

_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")
AZURE_HOST = ".dfs.core.windows.net"
PROBE = "_chatbase_put_if_absent"
UPLOAD_BYTES = 1 << 20
PATIENCE = {"timeout": "120s", "connect_timeout": "20s"}


@dataclass(frozen=True, slots=True)
class DeltaStorage:
    """A directory for tables."""

    url: str  # as a reader can open it, without the connection
    uri: str  # as deltalake wants it
    options: Callable[[], Options] = dict  # asked for anew when a table is opened: credentials expire
    probe: Callable[[], None] = lambda: None  # fails where a commit could silently replace another one

    def below(self, name: str) -> DeltaStorage:
        """Return a directory in it."""
        return replace(self, url=f"{self.url}/{name}", uri=f"{self.uri}/{name}")

    @property
    def _is_local(self) -> bool:
        return "://" not in self.uri

    def make(self) -> None:
        """Make the directory, where directories are things of their own."""
        if self._is_local:
            Path(self.uri).mkdir(parents=True, exist_ok=True)

    def uploader(self) -> Callable[[Path, str], object]:
        """Return what copies a file of this machine to a name in the directory, many at once."""
        if self._is_local:
            return self._copy
        import pyarrow as pa
        from deltalake.fs import DeltaStorageHandler

        store = DeltaStorageHandler(self.uri, self.options())

        def upload(file: Path, name: str) -> None:
            # Unbuffered, pyarrow hands on a buffer of its own, which deltalake does not take.
            with (
                file.open("rb") as local,
                pa.BufferedOutputStream(store.open_output_stream(name), UPLOAD_BYTES) as stored,
            ):
                shutil.copyfileobj(local, stored)

        return upload

    def _copy(self, file: Path, name: str) -> None:
        to = Path(self.uri, name)
        to.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, to)

    def without_secrets(self, text: str) -> str:
        """Take out of a text what only the connection may know."""
        for name, value in self.options().items():
            if any(word in name for word in ("secret", "key", "token", "sas")) and len(value) > len("***"):
                for shown in (value, quote(value), quote(value, safe="")):
                    text = text.replace(shown, "***")
        return text


def find_storage(output_path: str, conn_id: str | None = None) -> DeltaStorage:
    """Find the storage that a URL names; the connection may stand in it (``s3://conn@bucket/key``)."""
    url = str(output_path or "").strip()
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "file", url
    rest = rest.rstrip("/")
    if not rest:
        raise ChatbaseOutputError(
            f"output_path {output_path!r} names no directory. Give a URL such as file:///data/export or "
            "s3://bucket/export. Nothing was exported."
        )
    if _ESCAPE.search(rest):
        raise ChatbaseOutputError(
            f"output_path {output_path!r} has a percent sign and two digits in it, which deltalake takes for "
            "another character. Give another name. Nothing was exported."
        )
    if scheme == "file":
        path = str(Path(rest).absolute())
        return DeltaStorage(f"file://{path}", path, probe=lambda: _probe_disk(Path(path)))
    if scheme not in _STORAGES:
        raise ChatbaseOutputError(
            f"file_format='delta' writes to file://, s3://, gs:// and abfs://, not to {scheme}://. "
            "Nothing was exported."
        )
    host, _, key = rest.partition("/")
    user, _, bucket = host.rpartition("@")
    return _STORAGES[scheme](scheme, bucket, key, user, conn_id)


def _probe_disk(path: Path) -> None:
    """Refuse what cannot become a directory, before anything is read."""
    there = next(each for each in (path, *path.parents) if os.path.lexists(each))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = "cannot be written to" if there.is_dir() else "is no directory"
        raise ChatbaseOutputError(f"output_path file://{path} cannot be used: {there} {what}.")


def read_delta(output_path: str, table: str, storage_conn_id: str | None = None) -> DeltaTable:
    """
    Open a table that an export wrote with ``file_format="delta"``, to read it.

    :param output_path: as of the export.
    :param table: ``conversations``, ``messages``, ``tool_calls``, ``leads`` or ``contacts``.
    :param storage_conn_id: the storage's Airflow connection; it may stand in the URL too.
    :return: deltalake's table at its newest version; ``pyarrow.table(found.scan())`` has its rows.
    """
    from deltalake import DeltaTable

    place = find_storage(output_path, storage_conn_id).below(table)
    return DeltaTable(place.uri, storage_options=place.options())


def _s3(scheme: str, bucket: str, key: str, user: str, conn_id: str | None) -> DeltaStorage:
    try:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    except ImportError as error:
        raise _provider_missing(f"{scheme}://", "amazon", error) from error
    require_connection(conn_id or user)
    hook = S3Hook(aws_conn_id=conn_id or user or None)
    session = hook.get_session(deferrable=False)
    credentials = session.get_credentials()
    known: Options = {**PATIENCE, "aws_conditional_put": "etag"}
    known["aws_region"] = hook.region_name or session.region_name or "us-east-1"
    if endpoint := hook.conn_config.get_service_endpoint_url(service_name="s3"):
        known["aws_endpoint_url"] = endpoint
        known["aws_allow_http"] = str(endpoint.startswith("http://")).lower()
    settings = hook.conn_config.extra_config.get("config_kwargs") or {}
    style = (settings.get("s3") or {}).get("addressing_style")
    known["aws_virtual_hosted_style_request"] = str(style == "virtual").lower()
    if hook.verify is False:
        known["allow_invalid_certificates"] = "true"

    def options() -> Options:
        if credentials is None:
            return {**known, "aws_skip_signature": "true"}
        frozen = credentials.get_frozen_credentials()  # renews what has expired
        found = {"aws_access_key_id": frozen.access_key, "aws_secret_access_key": frozen.secret_key}
        return {**known, **found, **({"aws_session_token": frozen.token} if frozen.token else {})}

    url = f"s3://{bucket}/{key}"
    name = f"{key}/{PROBE}" if key else PROBE
    return DeltaStorage(url, f"s3://{bucket}/{quote(key)}", options, lambda: _probe_s3(hook, bucket, name))


def _probe_s3(hook: Any, bucket: str, name: str) -> None:
    """Write an object that must not be there yet, twice: the second time has to be refused."""
    from botocore.exceptions import BotoCoreError, ClientError

    put = {"Bucket": bucket, "Key": name, "Body": b"Shows that this store keeps to If-None-Match.\n"}
    for _ in range(2):
        try:
            hook.get_conn().put_object(**put, IfNoneMatch="*")
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if status in (409, 412):
                return
            kind = ChatbaseStorageError if status >= 500 and status != 501 else ChatbaseOutputError
            raise kind(
                f"s3://{bucket}/{name} cannot be written with If-None-Match, which Delta tables need: "
                f"{error}. Nothing was exported."
            ) from error
        except BotoCoreError as error:
            raise ChatbaseStorageError(
                f"The storage of s3://{bucket}/{name} failed: {error}. Nothing was exported."
            ) from error
    raise ChatbaseOutputError(
        f"The store of s3://{bucket} ignores If-None-Match, so that two runs at once would lose rows of a "
        "Delta table. Use another store, or another file_format. Nothing was exported."
    )


def _gcs(_scheme: str, bucket: str, key: str, user: str, conn_id: str | None) -> DeltaStorage:
    connection = _connection(conn_id or user or None)
    options = {**PATIENCE, **(_gcs_options(connection) if connection else {})}
    return DeltaStorage(f"gs://{bucket}/{key}", f"gs://{bucket}/{quote(key)}", lambda: dict(options))


def _gcs_options(connection: Connection) -> Options:
    extra = _extra(connection, "google_cloud_platform")
    if other := sorted({"impersonation_chain", "credential_config_file", "key_secret_name"} & extra.keys()):
        raise ChatbaseOutputError(
            f"{other[0]} of the connection {connection.conn_id} cannot be used for Delta tables. Give "
            "key_path or keyfile_dict, or neither for the default credentials. Nothing was exported."
        )
    if keyfile := extra.get("keyfile_dict"):
        text = keyfile if isinstance(keyfile, str) else json.dumps(keyfile)
        return {"google_service_account_key": text}
    return {"google_service_account_path": str(extra["key_path"])} if extra.get("key_path") else {}


def _azure(scheme: str, container: str, key: str, user: str, conn_id: str | None) -> DeltaStorage:
    account: Options = {}
    if container.endswith(AZURE_HOST):  # abfss://container@account.dfs.core.windows.net/path
        account = {"azure_storage_account_name": container.removesuffix(AZURE_HOST)}
        container, user = user, ""
    connection = _connection(conn_id or user or None)
    options = {**PATIENCE, **account, **(_azure_options(connection) if connection else {})}
    url = f"{scheme}://{container}/{key}"
    return DeltaStorage(url, f"az://{container}/{quote(key)}", lambda: dict(options))


def _azure_options(connection: Connection) -> Options:
    extra = _extra(connection, str(connection.conn_type))
    if text := extra.get("connection_string"):
        return _from_connection_string(str(text))
    options: Options = {}
    host = str(connection.host or extra.get("account_url") or "")
    if "." in host or "://" in host:
        where = urlsplit(host if "://" in host else f"https://{host}")
        options["azure_storage_account_name"] = (where.hostname or "").split(".")[0]
        if not (where.hostname or "").endswith(".core.windows.net"):
            options |= _azure_endpoint(host)
    elif name := extra.get("account_name") or host:
        options["azure_storage_account_name"] = str(name)
    login, password = str(connection.login or ""), str(connection.password or "")
    if tenant := extra.get("tenant_id"):
        options |= {
            "azure_storage_tenant_id": str(tenant),
            "azure_storage_client_id": login or str(extra.get("client_id") or ""),
            "azure_storage_client_secret": password or str(extra.get("client_secret") or ""),
        }
    elif sas := extra.get("sas_token"):
        options["azure_storage_sas_key"] = str(sas).rpartition("?")[2]
    elif account_key := extra.get("account_key") or extra.get("shared_access_key") or password:
        options["azure_storage_account_key"] = str(account_key)
    if login and not extra.get("tenant_id"):
        options["azure_storage_account_name"] = login
    return options


def _from_connection_string(text: str) -> Options:
    fields = dict(part.split("=", 1) for part in text.strip().strip(";").split(";") if "=" in part)
    named = {name.lower(): value for name, value in fields.items()}
    if named.get("usedevelopmentstorage", "").lower() == "true":
        return {"azure_storage_use_emulator": "true"}
    names = {
        "accountname": "azure_storage_account_name",
        "accountkey": "azure_storage_account_key",
        "sharedaccesssignature": "azure_storage_sas_key",
    }
    options = {option: named[name].removeprefix("?") for name, option in names.items() if name in named}
    if endpoint := named.get("blobendpoint"):
        options |= _azure_endpoint(endpoint)
    return options


def _azure_endpoint(endpoint: str) -> Options:
    allow_http = str(endpoint.startswith("http://")).lower()
    return {"azure_storage_endpoint": endpoint.rstrip("/"), "azure_allow_http": allow_http}


def _connection(conn_id: str | None) -> Connection | None:
    from airflow.sdk import Connection

    return Connection.get(conn_id) if conn_id else None


def _extra(connection: Connection, conn_type: str) -> Mapping[str, Any]:
    """Return a connection's extra fields, the long names of older forms too, without empty ones."""
    prefix = f"extra__{conn_type}__"
    found = {name.removeprefix(prefix): value for name, value in connection.extra_dejson.items()}
    return {name: value for name, value in found.items() if value not in (None, "", {})}


def _provider_missing(scheme: str, provider: str, error: Exception) -> ChatbaseOutputError:
    return ChatbaseOutputError(
        f"{scheme} needs the package apache-airflow-providers-{provider}: {error}. Nothing was exported."
    )


_STORAGES: Mapping[str, Callable[[str, str, str, str, str | None], DeltaStorage]] = {
    **dict.fromkeys(("s3", "s3a", "s3n"), _s3),
    **dict.fromkeys(("gs", "gcs"), _gcs),
    **dict.fromkeys(("abfs", "abfss", "az", "adl", "wasb"), _azure),
}
