"""What mkdocs does besides: the pages that are made of the code, links out of the docs, and llms.txt."""

from __future__ import annotations

import ast
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
_first_words: dict[str, str] = {}
NOT_RUN = re.compile(r"^(?P<fence> *```\w+[^\n`]*?) (?:not-run|airflow)=(?:\"[^\"\n]*\"|\S+)", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    from mkdocs.structure.files import File

    made = {
        "index.md": (CHECKOUT / "README.md").read_text(encoding="utf-8"),
        "changelog.md": (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8"),
        "contributing.md": (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
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
    up = "../" * page.file.src_uri.count("/")
    if page.file.src_uri in ("index.md", "changelog.md", "contributing.md"):
        markdown = markdown.replace("](docs/", "](").replace("](example_dags)", "](examples/index.md)")
        markdown = markdown.replace("](example_dags/", "](../example_dags/").replace('src="docs/', 'src="')
    markdown = re.sub(r"\]\((?:\.\./)*example_dags/(\w+)\.py\)", rf"]({up}examples/\1.md)", markdown)
    markdown = re.sub(r"\]\((?:\.\./)*CHANGELOG\.md(#[^)]*)?\)", rf"]({up}changelog.md\1)", markdown)
    markdown = re.sub(r"\]\((?:\.\./)*CONTRIBUTING\.md(#[^)]*)?\)", rf"]({up}contributing.md\1)", markdown)
    markdown = re.sub(r"\[([^\]]*)\]\((?:\.\./)*LICENSE\)", r"\1", markdown)
    while NOT_RUN.search(markdown):
        markdown = NOT_RUN.sub(r"\g<fence>", markdown)
    return markdown


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
