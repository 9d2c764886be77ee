"""Sending many, each once: what such tasks share, and asking an agent many questions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import timedelta
from logging import INFO, WARNING
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_chatbase.exceptions import wrap
from airflow_provider_chatbase.hooks.task_instance import earlier_try_began, task_identity
from airflow_provider_chatbase.links import ChatbaseConversationLink
from airflow_provider_chatbase.operators._task import ChatbaseOperator
from airflow_provider_chatbase.operators._written import emit_asset_events, lineage

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_chatbase.batch.batch import Batch
    from airflow_provider_chatbase.batch.prompt_batch import PromptBatch
    from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

XCOM_BYTES = 2000
"""The most that goes into XCom, whatever the input."""

TOLD_OF_ASSETS = ("kind", "agent_id", "status", "items", "outcomes", "credits")

_LEFT_OUT_FIRST = ("error_codes", "expectations", "manifest_path", "files")


class BatchTask(ChatbaseOperator):
    """
    An operator that sends many, each once, and leaves what became of them as a data set.

    :param output_path: the URL of a directory, one for each run. A mapped task writes below its map index,
        unless the path differs by instance.
    :param encoding: the file's encoding; by default UTF-8, or UTF-16 where the file says so by its mark.
    :param delimiter: what stands between the cells of a CSV; by default a comma.
    :param concurrency: how many are on their way at one time.
    :param on_limit: whether reaching a limit is a success (``succeed``) or not (``fail``).
    :param on_problem: whether what cannot be sent fails the task when the others are sent (``fail``), or
        only counts as failed (``report``).
    :param max_failure_rate: the share that may fail, from 0 to 1.
    :param batch_timeout: seconds after which no more is sent and the task fails; by default none.
    :param file_format: ``jsonl``, ``csv``, or ``parquet``.
    :param compression: ``gzip`` or ``zstd``.
    :param allow_empty: whether there may be nothing to send; without it the task fails then.
    :param plan_only: send nothing; return what would be sent.
    :param storage_conn_id: the storage's Airflow connection.
    """

    flags: ClassVar[Sequence[str]] = ("plan_only", "allow_empty")
    numbers: ClassVar[Sequence[str]] = ("concurrency", "max_failure_rate", "batch_timeout")
    texts = (
        *(*ChatbaseOperator.texts, "output_path", "storage_conn_id", "encoding", "delimiter"),
        *("on_limit", "on_problem", "file_format", "compression"),
    )
    template_fields: Sequence[str] = (*texts, *flags, *numbers)

    settings: ClassVar[Sequence[str]] = (
        *("concurrency", "max_failure_rate", "file_format", "compression", "on_limit", "on_problem"),
        *("allow_empty", "batch_timeout"),
    )
    """Arguments that say how the batch is to run."""

    read: ClassVar[str]  # what OpenLineage calls that of an agent which is read

    def __init__(
        self,
        *,
        output_path: str,
        encoding: str | None = None,
        delimiter: str | None = None,
        concurrency: int = 10,
        on_limit: Literal["succeed", "fail"] = "fail",
        on_problem: Literal["fail", "report"] = "report",
        max_failure_rate: float = 0.1,
        batch_timeout: float | None = None,
        file_format: Literal["jsonl", "csv", "parquet"] = "jsonl",
        compression: Literal["gzip", "zstd"] | None = None,
        plan_only: bool = False,
        allow_empty: bool = False,
        storage_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.output_path = output_path
        self.encoding = encoding
        self.delimiter = delimiter
        self.concurrency = concurrency
        self.on_limit = on_limit
        self.on_problem = on_problem
        self.max_failure_rate = max_failure_rate
        self.batch_timeout = batch_timeout
        self.file_format = file_format
        self.compression = compression
        self.plan_only = plan_only
        self.allow_empty = allow_empty
        self.storage_conn_id = storage_conn_id
        self._batch: Batch[Any] | None = None
        self._result: dict[str, Any] | None = None

    def _new_batch(self, hook: ChatbaseHook, context: Context) -> Batch[Any]:
        """Make the batch, with :meth:`_whose`."""
        raise NotImplementedError

    def _given(self) -> Iterable[Any]:
        """Return the records."""
        raise NotImplementedError

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Send what is not sent yet.

        :param context: the task's context.
        :return: the manifest and where it is.
        :raises ChatbaseBatchError: when the batch is no success; what was done is kept.
        :raises ChatbaseExpectationsError: when too many answers are not as expected.
        :raises ChatbaseCreditsError: when the message credits are used up.
        """
        with self.hook() as hook:
            from airflow_provider_chatbase.files.directory import MANIFEST

            self._batch = self._new_batch(hook, context)
            if self.plan_only:
                plan = self._batch.plan(self._given())
                counts = ", ".join(f"{name} {value}" for name, value in plan.items() if name != "plan_only")
                self.log.info("%s", wrap(f"Planned, and nothing was sent: {counts}."))
                return plan
            result = self._result = self._send_all(self._batch)
        told = {"manifest_path": f"{result['output_path']}/{MANIFEST}", **result}
        emit_asset_events(self.outlets, context, told, TOLD_OF_ASSETS)
        return result

    def get_openlineage_facets_on_complete(self, _task_instance: Any) -> Any:
        """
        Say for OpenLineage what was read and written; called only where its provider is installed.

        :param _task_instance: the task instance.
        """
        done = self._result
        if done is None:
            return None
        return lineage(f"agents/{done['agent_id']}/{self.read}", done["output_path"], rows=done["items"])

    def on_kill(self) -> None:
        """Send no more; what is done is kept."""
        if self._batch is not None:
            self._batch.stop()

    def _send_all(self, batch: Batch[Any]) -> dict[str, Any]:
        from airflow_provider_chatbase.batch.results import in_words, verdict
        from airflow_provider_chatbase.files.directory import MANIFEST

        report = batch.send_all(self._given())
        url = batch.output.url
        result = _bounded({**report.manifest, "output_path": url, "manifest_path": f"{url}/{MANIFEST}"})
        done = report.tally.done == report.tally.items
        self.log.log(
            INFO if done else WARNING,
            "%s\nThe results are in %s",
            wrap(in_words(report.tally, report.stopped)),
            url,
        )
        if report.error is not None:
            raise report.error
        verdict(report.tally, report.stopped, batch.settings)
        return result

    def _whose(self, hook: ChatbaseHook, context: Context, **settings: Any) -> dict[str, Any]:
        """Say for a batch whose it is, how it is to run, and where to."""
        from airflow_provider_chatbase.batch.settings import read_settings
        from airflow_provider_chatbase.files.directory import open_directory

        ti = context.get("ti")
        return {
            "connection": hook.connection.settings,
            "agent_id": hook.agent_or_default(self.agent_id),
            "run": str(task_identity(context) or ""),
            "output": open_directory(self._own_output_path(context), self.storage_conn_id),
            "settings": read_settings(**{name: getattr(self, name) for name in self.settings}, **settings),
            "try_number": 1 if ti is None else ti.try_number,
            "earlier_try_began": earlier_try_began(context),
        }

    def _own_output_path(self, context: Context) -> str:
        """Keep mapped instances apart: below the map index, unless the path already differs by instance."""
        identity, dag = task_identity(context), self.get_dag()
        if identity is None or identity.map_index < 0 or not self.output_path:
            return self.output_path
        mapped: Any = dag and dag.task_dict.get(self.task_id)
        partial = getattr(mapped, "partial_kwargs", {"output_path": getattr(mapped, "output_path", "")})
        if "output_path" not in partial or "map_index" in str(partial["output_path"]):
            return self.output_path
        return f"{self.output_path.rstrip('/')}/{identity.map_index}"

    def _records(self, given: Any, path: str | None, argument: str, needed: str) -> Iterable[Any]:
        """Read the records of an argument, or of the file that its sibling ``…_path`` names."""
        from airflow_provider_chatbase.client.errors import ChatbaseInputError
        from airflow_provider_chatbase.files.directory import open_file
        from airflow_provider_chatbase.files.records import read_record_file, rows_of

        of_path = f"{argument}_path"
        if (given is None) == (not path):
            raise ChatbaseInputError(f"Give either {argument} or {of_path}. Nothing was sent.")
        if isinstance(given, str):
            raise ChatbaseInputError(
                f"{argument} must be a list of records, a DataFrame or an Arrow table, not the text "
                f"{given[:100]!r}. A file is named by its URL as {of_path}. Nothing was sent."
            )
        if given is not None:
            return rows_of(given, argument)
        directory, name = open_file(str(path), self.storage_conn_id, argument=of_path)
        with directory.errors("read", name):
            is_there = directory.fs.isfile(directory.path(name))
        if not is_there:
            raise ChatbaseInputError(
                f"{of_path} {path} cannot be read: there is no such file. Nothing was sent."
            )
        how = {"encoding": self.encoding or None, "delimiter": self.delimiter or None}
        return read_record_file(directory, name, argument=of_path, needed=needed, **how)


class ChatbaseBatchPromptOperator(BatchTask):
    """
    Asks an agent many questions, each once, and leaves the answers as a data set.

    It calls ``chatWithAgent``, or ``chat`` of API v1.

    What was sent and answered is kept beside the output. So a retry, a clear, or a new try after the worker
    was killed asks only what is not answered; what was on its way is looked for first. A new DAG run asks
    anew, and so does a changed input, agent, or instructions, model or temperature of the agent.

    Writes ``results.jsonl`` (or ``.csv``, ``.parquet``), a row per prompt in the order of the input: ``id``,
    ``message``, ``text``, ``outcome``, ``error_code``, ``error_message``, ``conversation_id``,
    ``message_id``, ``credits``, ``seconds``, ``attempts``, ``metadata``, ``recovered``; with a schema also
    ``parsed``, with expectations ``passed``, ``failed_expectations`` and ``score``, with a cache ``cached``,
    with ``dedupe`` ``duplicate_of``. ``_manifest.json`` comes last: where it is, the results are whole.

    Returns the manifest, under 2 kB: ``status`` (``complete`` or ``stopped``), ``stopped_by``, ``items``,
    ``outcomes`` (count by outcome), ``error_codes``, ``credits``, ``credits_unknown``, ``credits_estimated``,
    ``recovered``, ``cached``, ``duplicates``, ``expectations`` (``checked``, ``passed``, ``pass_rate``,
    ``worst``), ``seconds``, ``files``, ``output_path``, ``manifest_path``; never the answers.

    :param prompts: a list, DataFrame or Arrow table of texts, or of objects with ``message`` and optionally
        ``id``, ``conversation_id``, ``user_id`` and expectations (``contains``, ``not_contains``, ``regex``,
        ``min_score``, in the object or under ``expect``). Whatever else an object holds is copied to the
        result's ``metadata``.
    :param prompts_path: in place of ``prompts``: the URL of a ``.jsonl``, ``.csv``, ``.tsv``, ``.json``,
        ``.yaml`` or ``.parquet`` file on any storage that Airflow knows; it is read as a stream.
    :param encoding: the file's encoding; by default UTF-8, or UTF-16 where the file says so by its mark.
    :param delimiter: what stands between the cells of a CSV; by default a comma.
    :param on_problem: whether prompts that cannot be sent, such as an empty one, fail the task when the
        others are asked (``fail``), or only count as failed (``report``).
    :param allow_empty: whether there may be no prompts at all; without it the task fails then.
    :param output_path: the URL of a directory, one for each run. A mapped task writes below its map index,
        unless the path differs by instance.
    :param agent_id: the agent; by default the connection's.
    :param concurrency: how many prompts are on their way at one time.
    :param max_items: how many prompts may be sent by this run, its retries included.
    :param max_credits: how many credits this run may spend, its retries included; API v2 only.
    :param on_limit: whether reaching ``max_items`` or ``max_credits`` is a success (``succeed``) or not
        (``fail``, the default). Either way the results are written, and the rest is ``not_sent``.
    :param max_failure_rate: the share of the prompts that may fail, from 0 to 1. With more the task fails;
        what is answered is written, and a clear asks only the rest.
    :param prompt_timeout: seconds for a prompt, with all waiting, repeating and looking for its answer.
    :param batch_timeout: seconds after which no more is sent and the task fails; by default none.
    :param fail_fast: stop, and fail, at the first failure.
    :param dedupe: send equal prompts once, and copy the answer to each.
    :param cache_path: the URL of a directory with the answers of earlier runs; an answer to an equal prompt
        of the same agent with the same settings is used in place of a new one.
    :param cache_ttl: how long an earlier answer may be used, a timedelta or seconds; by default for ever.
    :param json_schema: the answers are to be JSON of this schema; ``{}`` takes any JSON. Others have the
        outcome ``invalid_output``, and their text is kept.
    :param min_pass_rate: the share of the prompts with expectations whose answers have to meet them, from 0
        to 1; with fewer the task fails.
    :param file_format: ``jsonl``, ``csv``, or ``parquet`` with the extra ``[parquet]``. CSV and Parquet
        always have all columns; ``metadata`` and ``parsed`` are JSON texts in them.
    :param compression: ``gzip``, or ``zstd`` with the extra ``[zstd]``; by default none, and snappy for
        Parquet.
    :param plan_only: send nothing; return the number of items and duplicates and an estimate of the credits.
    :param on_ambiguous: what to do when it is unknown whether a prompt was answered. ``reconcile`` looks for
        it, and sends again only what never arrived; API v1 cannot look, so there it stays ``ambiguous``.
        ``retry`` sends again, ``fail`` leaves it ``ambiguous``.
    :param storage_conn_id: the storage's Airflow connection; it may stand in the URLs too.
    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    flags = (*BatchTask.flags, "fail_fast", "dedupe")
    numbers = (*BatchTask.numbers, "max_items", "max_credits", "min_pass_rate", "prompt_timeout")
    texts = (*BatchTask.texts, "prompts_path", "cache_path", "on_ambiguous")
    lists_of_texts = ("prompts",)
    template_fields: Sequence[str] = (
        *texts,
        *lists_of_texts,
        *flags,
        *numbers,
        "cache_ttl",
        "json_schema",
    )
    template_fields_renderers = {"prompts": "json"}  # noqa: RUF012 - as in Airflow's own operators
    operator_extra_links = (*ChatbaseOperator.operator_extra_links, ChatbaseConversationLink())
    linked_conversation_id = None  # there are many: the link leads to all of them
    read = "answers"
    settings = (
        *(*BatchTask.settings, "on_ambiguous", "max_items", "max_credits", "min_pass_rate", "cache_ttl"),
        *("fail_fast", "dedupe", "json_schema", "prompt_timeout"),
    )

    def __init__(
        self,
        *,
        output_path: str,
        prompts: Iterable[str | dict[str, Any]] | None = None,
        prompts_path: str | None = None,
        max_items: int | None = None,
        max_credits: float | None = None,
        fail_fast: bool = False,
        dedupe: bool = False,
        cache_path: str | None = None,
        cache_ttl: timedelta | float | None = None,
        json_schema: dict[str, Any] | None = None,
        min_pass_rate: float | None = None,
        prompt_timeout: float | None = 1800.0,
        on_ambiguous: Literal["reconcile", "retry", "fail"] = "reconcile",
        **kwargs: Any,
    ) -> None:
        super().__init__(output_path=output_path, **kwargs)
        self.prompts = prompts
        self.prompts_path = prompts_path
        self.max_items = max_items
        self.max_credits = max_credits
        self.fail_fast = fail_fast
        self.dedupe = dedupe
        self.cache_path = cache_path
        self.cache_ttl = cache_ttl
        self.json_schema = json_schema
        self.min_pass_rate = min_pass_rate
        self.prompt_timeout = prompt_timeout
        self.on_ambiguous = on_ambiguous

    def _new_batch(self, hook: ChatbaseHook, context: Context) -> PromptBatch:
        from airflow_provider_chatbase.batch.prompt_batch import PromptBatch
        from airflow_provider_chatbase.files.directory import open_directory

        whose = self._whose(hook, context)
        cache = self.cache_path and open_directory(
            self.cache_path, self.storage_conn_id, argument="cache_path"
        )
        return PromptBatch(**whose, cache=cache or None)

    def _given(self) -> Iterable[Any]:
        return self._records(self.prompts, self.prompts_path, "prompts", "message")


def _bounded(manifest: dict[str, Any]) -> dict[str, Any]:
    """Leave out what Airflow knows, and then what is told least missed, until it is small enough."""
    result = {name: value for name, value in manifest.items() if name != "run"}
    for name in _LEFT_OUT_FIRST:
        if len(json.dumps(result).encode()) < XCOM_BYTES:
            break
        result.pop(name, None)
    return result
