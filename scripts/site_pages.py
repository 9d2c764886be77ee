"""What mkdocs does besides: the pages that are made of the code, links out of the docs, and llms.txt."""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from reference_pages import reference_pages

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

CHECKOUT = Path(__file__).parents[1]
EXAMPLES = """# Example DAGs

Each of these DAGs is run by the tests, in real Airflow, as it stands here. All that differs between
installations is a parameter of the trigger form.
"""
ROOT_PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
    "SUPPORT.md": "support.md",
}
LINK = re.compile(r"(?P<image>!?)\[(?P<words>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_first_words: dict[str, str] = {}
NOT_RUN = re.compile(r"^(?P<fence> *```\w+[^\n`]*?) (?:not-run|airflow)=(?:\"[^\"\n]*\"|\S+)", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    from mkdocs.structure.files import File

    made = {
        **{shown: (CHECKOUT / name).read_text(encoding="utf-8") for name, shown in ROOT_PAGES.items()},
        **dict(reference_pages()),
        **dict(example_pages()),
    }
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def example_pages() -> list[tuple[str, str]]:
    """Show each example DAG with what it says of itself, and one page that lists them."""
    pages, listed = [], []
    for path in sorted((CHECKOUT / "example_dags").glob("*.py")):
        code = path.read_text(encoding="utf-8")
        said = (ast.get_docstring(ast.parse(code)) or "").replace("``", "`")
        first = " ".join(said.split("\n\n")[0].split())
        listed.append(f"- [{path.stem}]({path.stem}.md): {first}")
        rest = code.split('"""', 2)[2].lstrip()
        pages.append((f"examples/{path.stem}.md", f"# {path.stem}\n\n{said}\n\n```python\n{rest}```\n"))
    return [("examples/index.md", "\n".join([EXAMPLES, *listed, ""])), *pages]


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Let links lead to where their targets are in the site; in the repository they lead to the files."""
    here = page.file.src_uri
    origin = next((name for name, made in ROOT_PAGES.items() if made == here), f"docs/{here}")
    if (CHECKOUT / origin).is_file():
        markdown = LINK.sub(lambda link: link_in_site(link, origin, here), markdown)
    while NOT_RUN.search(markdown):
        markdown = NOT_RUN.sub(r"\g<fence>", markdown)
    return markdown


def link_in_site(link: re.Match[str], origin: str, here: str) -> str:
    """Rewrite a link of a file of the repository; what the site does not show stays as mere words."""
    path, _, anchor = link["target"].partition("#")
    if not path or ":" in path:
        return link[0]
    target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
    folder, _, name = target.partition("/")
    if target in ROOT_PAGES:
        shown = ROOT_PAGES[target]
    elif folder == "example_dags":
        shown = f"examples/{name.removesuffix('.py') or 'index'}.md"
    elif folder == "docs":
        shown = name
    else:
        return link["words"] if (CHECKOUT / target).exists() else link[0]
    relative = posixpath.relpath(shown, posixpath.dirname(here) or ".")
    return f"{link['image']}[{link['words']}]({relative}{anchor and '#' + anchor})"


def on_post_build(config: MkDocsConfig) -> None:
    """Write llms.txt, the list of pages for language models, and each page's Markdown beside it."""
    site = Path(config.site_dir)
    lines = [f"# {config.site_name}", "", f"> {config.site_description}", ""]
    for title, entries in sections(config.nav or []):
        lines += [f"## {title}", ""]
        lines += [f"- [{name}]({path}){_first_words.get(path, '')}" for name, path in entries]
        lines.append("")
    (site / "llms.txt").write_text("\n".join(lines), encoding="utf-8")


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Keep the Markdown of each page where llms.txt says that it is."""
    path = Path(config.site_dir, page.file.src_uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page.markdown or "", encoding="utf-8")
    _first_words[page.file.src_uri] = first_words(page.markdown or "")
    return html


def first_words(markdown: str) -> str:
    """Return what a page begins with, as the description of a link to it."""
    prose = re.sub(r"^ *```.*?^ *```$", "", markdown, flags=re.MULTILINE | re.DOTALL)
    paragraphs = (" ".join(each.split()) for each in prose.split("\n\n"))
    texts = (each for each in paragraphs if each and each[0] not in "#!|<-")
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", next(texts, ""))
    return f": {text}" if text else ""


def sections(nav: list[object]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Flatten the navigation into sections of named pages."""
    found: list[tuple[str, list[tuple[str, str]]]] = [("Start", [])]
    for entry in nav:
        for title, value in entry.items() if isinstance(entry, dict) else [(str(entry), entry)]:
            if isinstance(value, list):
                pages = [
                    next(iter(each.items())) if isinstance(each, dict) else (str(each), str(each))
                    for each in value
                ]
                found.append((title, pages))
            else:
                found[0][1].append((title, str(value)))
    return found
