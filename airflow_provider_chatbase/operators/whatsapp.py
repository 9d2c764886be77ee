"""Sending many customers a template on WhatsApp."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_chatbase.operators._task import ChatbaseOperator
from airflow_provider_chatbase.operators.batch import BatchTask

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_chatbase.batch.template_batch import TemplateBatch
    from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook


class ChatbaseSendTemplatesOperator(BatchTask):
    """
    Sends a WhatsApp template to many customers, to each at most once.

    It calls ``sendWhatsAppTemplateMessage``, and ``listWhatsAppTemplates`` before: a template that is not
    approved, a language, a variable or a number to send from that is not there is told before anything is
    sent.

    Who got a message is kept beside the output, by the number alone: a retry, a clear, or a new try after the
    worker was killed sends only what was not sent or was refused, also where the table or the template
    changed meanwhile. **A message whose reply was lost is in doubt** (``ambiguous``): the API has no way to
    look for it, so it is not sent again, the row and the log say so, and it counts as failed. Where the
    checkpoint of an earlier try is gone, nothing is sent. A new DAG run sends anew.

    Writes ``results.jsonl`` (or ``.csv``, ``.parquet``), a row per recipient in the order of the input:
    ``id``, ``to``, ``template``, ``language``, ``variables``, ``outcome`` (``sent``, ``failed``,
    ``ambiguous``, ``not_sent``), ``error_code``, ``error_message``, ``conversation_id``, ``message_id``,
    ``seconds``, ``attempts``, ``metadata``, and with ``on_duplicate="first"`` ``duplicate_of``.
    ``_manifest.json`` comes last: where it is, the results are whole.

    Returns the manifest, under 2 kB: ``status``, ``stopped_by``, ``items``, ``outcomes``, ``error_codes``,
    ``duplicates``, ``seconds``, ``files``, ``output_path``, ``manifest_path``; never a number or a text.

    :param template: the template's name.
    :param recipients: a list, DataFrame or Arrow table of objects with ``to``, the international number;
        the template's variables, as columns ``body[1]``, ``header[name]`` or under ``variables`` as
        ``{"body": {"1": "Ada"}}``; and optionally ``id`` and ``language``. Whatever else an object holds is
        copied to the result's ``metadata``.
    :param recipients_path: in place of ``recipients``: the URL of a ``.jsonl``, ``.csv``, ``.tsv``,
        ``.json``, ``.yaml`` or ``.parquet`` file on any storage that Airflow knows.
    :param output_path: the URL of a directory, one for each run, which all workers share. A mapped task
        writes below its map index, unless the path differs by instance.
    :param language: the template's language for those who have none of their own.
    :param sender: the number to send from, where the agent has several that could.
    :param on_duplicate: what to do about two recipients of one number: ``fail`` before anything is sent,
        send the ``first`` alone, or ``send`` to both.
    :param max_messages: how many messages may be sent by this run, its retries included.
    :param on_limit: whether reaching ``max_messages`` is a success (``succeed``) or not (``fail``).
    :param on_problem: whether recipients that cannot be sent to, such as one without a variable, fail the
        task when the others are done (``fail``), or only count as failed (``report``).
    :param allow_empty: whether there may be no recipients at all; without it the task fails then.
    :param max_failure_rate: the share of the messages that may fail or be in doubt, from 0 to 1.
    :param resend_in_doubt: send again what earlier tries left in doubt, though it may go out twice. Say so
        for one clear of the task, after looking.
    :param concurrency: how many messages are on their way at one time, and so how many a kill may leave in
        doubt.
    :param batch_timeout: seconds after which no more is sent and the task fails; by default none.
    :param file_format: ``jsonl``, ``csv``, or ``parquet`` with the extra ``[parquet]``.
    :param compression: ``gzip``, or ``zstd`` with the extra ``[zstd]``.
    :param encoding: the file's encoding; by default UTF-8, or UTF-16 where the file says so by its mark.
    :param delimiter: what stands between the cells of a CSV; by default a comma.
    :param plan_only: send nothing; return how many would be sent, and how many cannot be.
    :param storage_conn_id: the storage's Airflow connection; it may stand in the URLs too.
    :param agent_id: the agent; by default the connection's.
    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    flags: ClassVar[Sequence[str]] = (*BatchTask.flags, "resend_in_doubt")
    numbers: ClassVar[Sequence[str]] = (*BatchTask.numbers, "max_messages")
    texts = (*BatchTask.texts, "template", "recipients_path", "language", "sender", "on_duplicate")
    lists_of_texts = ("recipients",)
    template_fields: Sequence[str] = (*texts, *lists_of_texts, *flags, *numbers)
    template_fields_renderers = {"recipients": "json"}  # noqa: RUF012 - as in Airflow's own operators
    operator_extra_links = ChatbaseOperator.operator_extra_links
    read = "whatsapp"

    def __init__(
        self,
        *,
        template: str,
        output_path: str,
        recipients: Iterable[dict[str, Any]] | None = None,
        recipients_path: str | None = None,
        language: str | None = None,
        sender: str | None = None,
        on_duplicate: Literal["fail", "first", "send"] = "fail",
        max_messages: int | None = None,
        resend_in_doubt: bool = False,
        concurrency: int = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(output_path=output_path, concurrency=concurrency, **kwargs)
        self.template = template
        self.recipients = recipients
        self.recipients_path = recipients_path
        self.language = language
        self.sender = sender
        self.on_duplicate = on_duplicate
        self.max_messages = max_messages
        self.resend_in_doubt = resend_in_doubt

    def _new_batch(self, hook: ChatbaseHook, context: Context) -> TemplateBatch:
        from airflow_provider_chatbase.batch.template_batch import TemplateBatch
        from airflow_provider_chatbase.batch.templates import ON_DUPLICATE, Template
        from airflow_provider_chatbase.client.errors import ChatbaseInputError
        from airflow_provider_chatbase.client.request import require_text

        if self.on_duplicate not in ON_DUPLICATE:
            raise ChatbaseInputError(
                f"on_duplicate must be one of {', '.join(ON_DUPLICATE)}, not {self.on_duplicate!r}. Nothing "
                "was sent."
            )
        own = {
            "max_items": self.max_messages,
            "on_ambiguous": "retry" if self.resend_in_doubt else "fail",
            "dedupe": self.on_duplicate == "first",
        }
        name = require_text("template", self.template)
        return TemplateBatch(
            **self._whose(hook, context, **own),
            template=Template(name, self.language or None, self.sender or None),
            on_duplicate=self.on_duplicate,
        )

    def _given(self) -> Iterable[Any]:
        return self._records(self.recipients, self.recipients_path, "recipients", "to")
