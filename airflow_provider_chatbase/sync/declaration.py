"""What an agent is to know: the files of a folder, and lists of texts, questions and links."""

from __future__ import annotations

import codecs
import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from fsspec.utils import glob_translate

from airflow_provider_chatbase.client.errors import (
    ChatbaseConfigurationError,
    ChatbaseError,
    ChatbaseInputError,
)
from airflow_provider_chatbase.client.request import is_unicode
from airflow_provider_chatbase.client.v2.sources import FILE_SIZE, FILE_SUFFIXES, check_file
from airflow_provider_chatbase.files import ChatbaseOutputError, ChatbaseStorageError
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.files.records import UnreadableRecord, decode, parse_json
from airflow_provider_chatbase.sync.errors import ChatbaseDeclarationError
from airflow_provider_chatbase.sync.payloads import (
    LINK_OPTIONS,
    DeclaredText,
    FilePayload,
    Kind,
    LinkPayload,
    Payload,
    QnaPayload,
    TextPayload,
    link_key,
    normal_key,
)

PAGE_SUFFIXES = (".html", ".htm")
TEXT_SUFFIXES = (".md", ".markdown", *PAGE_SUFFIXES)
_SHORTENED = re.compile(r"~[0-9a-f]{10}\Z")
_DRAFT = re.compile(r"draft *[:=] *[\"']?(true|yes|on)\b", re.IGNORECASE)
_YES, _NO = ("true", "1", "yes"), ("false", "0", "no")
_KINDS: dict[Any, Kind] = {"text": "text", "qna": "qna", "link": "link"}

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeclaredSource:
    """One source as it is to be."""

    kind: Kind
    key: str  # tells it from the others of its kind, and stays the same when its content changes
    digest: str  # the SHA-256 of its content
    load: Callable[[], Payload] = field(repr=False, compare=False)  # reads the content, when it is needed


@dataclass(frozen=True, slots=True)
class Problem:
    """Something declared that cannot be written: its key, or where it stands, and why."""

    key: str
    reason: str
    mendable: bool = False  # whether another try may not meet it


@dataclass(frozen=True, slots=True)
class DeclaredInput:
    """What something is declared by: a folder and one of its patterns, or a list."""

    name: str
    count: int  # how much is declared by it, also what cannot be written
    pattern: str | None = None  # of the folder; None for a list
    suffixes: tuple[str, ...] = TEXT_SUFFIXES  # of the folder's files that become texts

    def may_own(self, kind: str, key: str) -> bool:
        """Say whether a source may have been declared by it, by its kind and the key in its name."""
        whole = _SHORTENED.sub("", key)
        of_a_folder = kind == "file" or (kind == "text" and whole.lower().endswith(self.suffixes))
        if self.pattern is None or not of_a_folder:
            return self.pattern is None and not of_a_folder
        return whole != key or _matches([self.pattern], key)


@dataclass(frozen=True, slots=True)
class Declaration:
    """All that is declared."""

    sources: tuple[DeclaredSource, ...] = ()
    problems: tuple[Problem, ...] = ()
    complete: bool = True  # whether all could be read; if not, what is missing must not be taken for gone
    skipped: tuple[tuple[str, str], ...] = ()  # files that are left out, and why
    inputs: tuple[DeclaredInput, ...] = ()
    unmatched: tuple[str, ...] = ()  # patterns that match nothing


def combine(declarations: Iterable[Declaration]) -> Declaration:
    """Put declarations together, and set aside what stands in them twice."""
    parts = list(declarations)
    by_identity: defaultdict[tuple[Kind, str], list[DeclaredSource]] = defaultdict(list)
    for part in parts:
        for source in part.sources:
            by_identity[source.kind, normal_key(source.key)].append(source)
    twice = (
        Problem(key, f"{len(found)} {kind} sources are declared under this key. Give each its own.")
        for (kind, key), found in by_identity.items()
        if len(found) > 1
    )
    return Declaration(
        sources=tuple(found[0] for found in by_identity.values() if len(found) == 1),
        problems=(*(problem for part in parts for problem in part.problems), *twice),
        complete=all(part.complete for part in parts),
        skipped=tuple(left_out for part in parts for left_out in part.skipped),
        inputs=tuple(each for part in parts for each in part.inputs),
        unmatched=tuple(pattern for part in parts for pattern in part.unmatched),
    )


# -- the files of a folder


def read_folder(
    folder: Directory,
    globs: Sequence[str] = ("**/*",),
    exclude: Sequence[str] = (),
    *,
    text_suffixes: Sequence[str] = (),
    encoding: str | None = None,
) -> Declaration:
    """
    Declare the files of a folder: .pdf, .doc, .docx and .txt as files, .md, .html and further ones as texts.

    Hidden files and folders are passed over, and links are followed below the folder only. The key is the
    path below the folder.
    """
    suffixes = (*TEXT_SUFFIXES, *(suffix.lower() for suffix in text_suffixes))
    left_out: list[str] = []
    listed = _list(folder, left_out)
    found = {key: why_not for key, why_not in listed if not _is_within(exclude, key)}
    skipped = [(key, "hidden") for key in left_out if not _is_within(exclude, key)]
    sources: list[DeclaredSource] = []
    problems = [Problem(key, why_not) for key, why_not in found.items() if why_not]
    complete = True
    for key in (key for key, why_not in found.items() if not why_not and _matches(globs, key)):
        if why_skipped := _why_skipped(key, suffixes):
            skipped.append((key, why_skipped))
            continue
        try:
            sources.append(_declare(folder, key, encoding))
        except _DraftError:
            skipped.append((key, "draft: true in its front matter"))
        except ChatbaseStorageError as error:
            complete = False
            problems.append(Problem(key, _why(error), mendable=not error.permanent))
        except ChatbaseInputError as error:
            problems.append(Problem(key, _why(error)))
    declared = [*(source.key for source in sources), *(problem.key for problem in problems)]
    inputs = [
        DeclaredInput(
            f"{pattern} in {folder.url}", sum(_matches([pattern], key) for key in declared), pattern, suffixes
        )
        for pattern in globs
    ]
    paths = [key for key, _ in listed] + left_out
    unmatched = [pattern for pattern in globs if not any(_matches([pattern], key) for key in found)]
    unmatched += [pattern for pattern in exclude if not any(_is_within([pattern], path) for path in paths)]
    return Declaration(
        tuple(sources), tuple(problems), complete, tuple(sorted(skipped)), tuple(inputs), tuple(unmatched)
    )


def _why(error: ChatbaseError) -> str:
    """Return what is wrong with one of many, of which the others are sent."""
    return str(error).removesuffix(" Nothing was sent.")


def _list(folder: Directory, left_out: list[str]) -> list[tuple[str, str]]:
    """List the files of a folder, each with the reason why it cannot be read, if there is one."""
    try:
        if not folder.is_folder():
            raise ChatbaseDeclarationError(f"{folder.url} is no folder. Nothing was sent.")
        keys = folder.files(left_out=left_out)
        if not folder.local:
            return [(key, "") for key in sorted(keys)]
        root = Path(folder.root).resolve()
        return sorted(found for key in keys for found in _follow(folder, key, (root,), left_out))
    except ChatbaseOutputError as error:
        raise ChatbaseDeclarationError(f"{error} Nothing was sent.") from error


def _follow(
    folder: Directory, key: str, trail: tuple[Path, ...], left_out: list[str]
) -> Iterator[tuple[str, str]]:
    """Follow what may be a link, but neither out of the folder nor round in a circle."""
    path = Path(folder.path(key))
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        yield key, "It is a link that leads nowhere."
        return
    if not target.is_relative_to(trail[0]):
        yield key, "It is a link that leads out of the folder. Only those that stay in it are followed."
    elif target.is_file():
        yield key, ""
    elif not target.is_dir():
        yield key, "It is neither a file nor a folder."
    elif path.parent.resolve().is_relative_to(target) or target in trail:
        yield key, "It is a link that leads back to a folder that it is in."
    else:
        for below in folder.files(key, left_out=left_out):
            yield from _follow(folder, below, (*trail, target), left_out)


def _matches(patterns: Iterable[str], key: str) -> bool:
    return any(_compiled(pattern).match(normal_key(key)) for pattern in patterns)


def _is_within(patterns: Sequence[str], key: str) -> bool:
    """Say whether a pattern matches a file or a folder that it is in."""
    parts = key.split("/")
    return any(_matches(patterns, "/".join(parts[:depth])) for depth in range(1, len(parts) + 1))


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(glob_translate(normal_key(pattern.strip("/"))))
    except ValueError as error:
        raise ChatbaseDeclarationError(f"{pattern!r} is no pattern: {error}. Nothing was sent.") from error


def _why_skipped(key: str, suffixes: tuple[str, ...]) -> str:
    if posixpath.basename(key).startswith("~$"):
        return "the mark of an office program that a file is open"
    return "" if key.lower().endswith(FILE_SUFFIXES + suffixes) else "not a format for Chatbase"


class _DraftError(ChatbaseInputError):
    """A text that says itself that it is a draft."""


def _declare(folder: Directory, key: str, encoding: str | None) -> DeclaredSource:
    if not is_unicode(key):
        raise ChatbaseInputError("Its name is no UTF-8.")
    if key.lower().endswith(FILE_SUFFIXES):
        payload: Payload = _read_file(folder, key, encoding)
        return DeclaredSource("file", key, payload.digest, lambda: _read_file(folder, key, encoding))
    text = _read_text(folder, key, encoding)
    text.check()
    return DeclaredSource("text", key, text.digest, lambda: _read_text(folder, key, encoding))


def _read_file(folder: Directory, key: str, encoding: str | None) -> FilePayload:
    content, filename = _content(folder, key), posixpath.basename(key)
    check_file(filename, len(content))
    if filename.lower().endswith(".txt"):  # Chatbase cannot know in which encoding it is
        plain = _decoded(key, content, encoding).encode()
        content = content if content.removeprefix(codecs.BOM_UTF8) == plain else plain
    return FilePayload(filename, content)


def _decoded(key: str, content: bytes, encoding: str | None) -> str:
    try:
        return decode(content, encoding)
    except ValueError as error:
        raise ChatbaseInputError(f"{key} cannot be read: {error}.") from error


def _read_text(folder: Directory, key: str, encoding: str | None) -> TextPayload:
    content = _content(folder, key)
    if len(content) > FILE_SIZE:
        raise ChatbaseInputError(f"{key} has more than {FILE_SIZE:,} bytes.")
    text = _decoded(key, content, encoding)
    try:
        if key.lower().endswith(PAGE_SUFFIXES):
            return TextPayload(html_to_markdown(text))
    except (ValueError, RecursionError) as error:
        raise ChatbaseInputError(f"{key} cannot be read: {error}.") from error
    if _is_draft(text):
        raise _DraftError(f"{key} is a draft.")
    return TextPayload(text)


def _is_draft(text: str) -> bool:
    """Say whether the front matter of a text, YAML or TOML, calls it a draft."""
    lines = iter(text.splitlines())
    mark = next(lines, "").rstrip()
    is_draft = False
    for line in lines if mark in ("---", "+++") else ():
        if line.rstrip() == mark:
            return is_draft
        is_draft = is_draft or _DRAFT.match(line) is not None
    return False


def _content(folder: Directory, key: str) -> bytes:
    """Read a file, or as much of it as shows that it is too large."""
    with folder.open(key) as stream:
        return stream.read(FILE_SIZE + 1)


def html_to_markdown(page: str) -> str:
    """Return what a reader of a page sees, as Markdown."""
    try:
        from bs4 import BeautifulSoup
        from markdownify import MarkdownConverter
    except ImportError as error:
        raise ChatbaseConfigurationError(
            "Pages of HTML need the package markdownify: pip install 'airflow-provider-chatbase[html]'. "
            "Nothing was sent."
        ) from error
    soup = BeautifulSoup(page, "lxml")
    for unread in soup(["script", "style", "template", "noscript", "svg"]):
        unread.decompose()
    for title in soup("title"):
        title.name = "h1"
    for image in soup("img", src=re.compile(r"\A\s*data:", re.IGNORECASE)):
        image.replace_with(str(image.get("alt") or ""))
    converter = MarkdownConverter(
        heading_style="ATX", bullets="-", escape_asterisks=False, escape_underscores=False
    )
    return str(converter.convert_soup(soup)).strip()


# -- lists of records


def read_records(records: Iterable[Any]) -> Declaration:
    """
    Declare records.

    Each has the fields of one kind. A text: ``key``, ``content``. Q&A: ``questions`` (or one ``question``),
    ``answer``, and ``key`` (by default the first question). A link: ``url``, and optionally ``link_type``,
    ``exclude_paths``, ``include_only_paths``, ``slow_scraping``.

    ``type`` may say ``text``, ``qna`` or ``link``; without it the fields decide.
    """
    sources: list[DeclaredSource] = []
    problems: list[Problem] = []
    nameless = 0
    for number, record in enumerate(records, 1):
        key = f"record {number}"
        try:
            kind = _kind(record)
            key = _key(kind, record)
            payload = _payload(kind, record)
            payload.check()
        except ChatbaseInputError as error:
            nameless += key == f"record {number}"
            problems.append(Problem(key, _why(error)))
        else:
            sources.append(DeclaredSource(kind, key, payload.digest, partial(_itself, payload)))
    given = DeclaredInput("the list of sources", len(sources) + len(problems))
    return Declaration(tuple(sources), tuple(problems), complete=not nameless, inputs=(given,))


def _itself(payload: Payload) -> Payload:
    return payload


def _kind(record: Any) -> Kind:
    if isinstance(record, UnreadableRecord):
        raise ChatbaseInputError(f"It cannot be read: {record.why}.")
    if not isinstance(record, Mapping):
        raise ChatbaseInputError(f"It is no object with fields: {str(record)[:100]!r}.")
    kind = record.get("type")
    if isinstance(kind, str) and kind in _KINDS:
        return _KINDS[kind]
    if kind:
        raise ChatbaseInputError(f"type is {str(kind)[:40]!r}; it must be text, qna or link.")
    if record.get("url"):
        return "link"
    if record.get("questions") or record.get("question"):
        return "qna"
    if "content" in record:
        return "text"
    raise ChatbaseInputError("It has neither content, nor questions, nor a url.")


def _key(kind: Kind, record: Record) -> str:
    """Return what tells a source from the others of its kind."""
    if kind == "link":
        return link_key(_text("url", record.get("url")), _link_type(record))
    key = record.get("key") or record.get("name")
    if not key and kind == "qna":
        key = next(iter(_questions(record)), None)
    if isinstance(key, int) and not isinstance(key, bool):
        key = str(key)
    if not isinstance(key, str) or not key.strip() or not is_unicode(key):
        raise ChatbaseInputError("It has no key, by which the next run could know it.")
    return key


def _payload(kind: Kind, record: Record) -> DeclaredText:
    if kind == "qna":
        return QnaPayload(tuple(_questions(record)), _text("answer", record.get("answer")))
    if kind == "text":
        return TextPayload(_text("content", record.get("content")))
    options = {
        api_name: _option(api_name, record[given])
        for api_name, name in LINK_OPTIONS.items()
        for given in (name, api_name)
        if record.get(given) not in (None, "")
    }
    return LinkPayload(_text("url", record.get("url")).strip(), _link_type(record), options)


def _questions(record: Record) -> list[str]:
    return _texts("questions", record.get("questions") or record.get("question") or [])


def _link_type(record: Record) -> str:
    return _text("link_type", record.get("link_type") or record.get("linkType")) or "individual"


def _text(name: str, value: Any) -> str:
    """Take nothing else for text: NaN, a number or a dict would be published as Python writes it."""
    if value is not None and not isinstance(value, str):
        raise ChatbaseInputError(f"{name} must be text, not {type(value).__name__} {str(value)[:40]!r}.")
    if value and not is_unicode(value):
        raise ChatbaseInputError(f"{name} has half a character and cannot be sent as UTF-8.")
    return value or ""


def _option(api_name: str, value: Any) -> Any:
    if api_name != "slowScraping":
        return _texts(LINK_OPTIONS[api_name], value)
    text = str(value).strip().lower()
    if text not in _YES + _NO:
        raise ChatbaseInputError(f"slow_scraping must be true or false, not {value!r}.")
    return text in _YES


def _texts(name: str, value: Any) -> list[str]:
    """Read a list of texts, which in one field of a table is JSON or a line each."""
    if isinstance(value, str):
        try:
            value = parse_json(value) if value.lstrip().startswith("[") else value.splitlines()
        except ValueError:
            value = value.splitlines()
        return [each for each in (_text(f"one of {name}", each).strip() for each in value) if each]
    if not isinstance(value, list | tuple):
        raise ChatbaseInputError(f"{name} must be text, or a list of texts, not {str(value)[:40]!r}.")
    return [_text(f"one of {name}", each) for each in value]
