"""Hooks of mkdocs.yml: the site has the repository's own layout, and what GitHub renders looks the same there.

Pages of docs/ and the texts at the top are taken as they are. A file or folder that one of them links to and that is no
page becomes one, so that no link leads out of the site or into nothing.
"""

import os
import re
from pathlib import Path
from posixpath import dirname, normpath

from markdown_it import MarkdownIt
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify
from pymdownx.superfences import fence_code_format

ROOT = Path(__file__).resolve().parents[1]
LANGUAGES = {".py": "python", ".yaml": "yaml", ".json": "json", ".sh": "bash", ".cff": "yaml"}
_INDENT = 4  # of what belongs to an item of a list, in the dialect that MkDocs reads
_LINK = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=[)\s])")
_API = re.compile(r"^<!-- (::: [^>]*) -->$", re.MULTILINE)  # out of sight on GitHub


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """What cannot be said in plain YAML: anchors as GitHub makes them, mermaid; the repository where GitHub builds."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    fence = {"name": "mermaid", "class": "mermaid", "format": fence_code_format}
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    if repository := os.environ.get("GITHUB_REPOSITORY"):
        config.repo_name = repository
        config.repo_url = f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{repository}"
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """docs/ below docs/, the texts at the top, and what they link to."""
    for file in [file for file in files if file.src_dir == config.docs_dir]:
        files.remove(file)
        files.append(File.generated(config, f"docs/{file.src_uri}", abs_src_path=file.abs_src_path))
    for path in sorted(ROOT.glob("*.md")):
        files.append(File.generated(config, path.name, abs_src_path=str(path)))
    for path in _linked(files):
        text = _listing(path) if (ROOT / path).is_dir() else _source(path)
        files.append(File.generated(config, _page_of(path), content=text, inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to what became a page, lists as the dialect wants them, and the reference of a module in its place."""
    if page.file.inclusion is InclusionLevel.NOT_IN_NAV:
        return markdown

    def target(match: re.Match) -> str:
        path = _resolved(page.file.src_uri, match[1])
        is_page = path is not None and files.get_file_from_path(_page_of(path)) is not None
        return match[0] if not is_page else _relative(page.file.src_uri, _page_of(path)) + (match[2] or "")

    return _API.sub(r"\1", with_indented_lists(_LINK.sub(target, markdown)))


def with_indented_lists(markdown: str) -> str:
    """The same text with what belongs to an item of a list indented by four columns for each list that it is in.

    GitHub takes the width of the item's mark ("1. " is three), the dialect of MkDocs nothing but four; and it wants an
    empty line before a list, and before an item that follows one of several paragraphs.
    """
    lines = markdown.split("\n")
    extra = [0] * len(lines)
    apart = set()  # lines that an empty one must come before
    for token in MarkdownIt("commonmark").parse(markdown):
        if token.type == "list_item_open":
            first, last = token.map
            for i in range(first + 1, last):
                extra[i] += _INDENT - len(token.info + token.markup) - 1
            if any(not line.strip() for line in lines[first:last]):
                apart.add(last)
        elif token.type in ("bullet_list_open", "ordered_list_open") and token.level == 0:
            apart.add(token.map[0])
    moved = []
    for i, line in enumerate(lines):
        if i in apart and i and line.strip() and lines[i - 1].strip():
            moved.append("")
        moved.append(" " * extra[i] + line if line else line)
    return "\n".join(moved)


def _linked(files: Files) -> list[str]:
    """What pages link to in the repository and is not in the site yet, as paths from the top."""
    pages = files.documentation_pages()
    links = {_resolved(page.src_uri, link) for page in pages for link in _links(page.content_string)}
    return sorted(path for path in links - {None} if path not in files.src_uris)


def _links(markdown: str) -> list[str]:
    return [match[1] for match in _LINK.finditer(markdown)]


def _resolved(page: str, link: str) -> str | None:
    """The path that a link of a page means, from the top of the repository; None: not one of its files."""
    path = normpath(f"{dirname(page) or '.'}/{link}")
    return path if "://" not in link and (ROOT / path).exists() else None


def _page_of(path: str) -> str:
    visible = path.removeprefix(".")  # what begins with a dot is left out when a site is put on GitHub Pages
    return f"{visible}/index.md" if (ROOT / path).is_dir() else f"{visible}.md"


def _relative(page: str, target: str) -> str:
    return os.path.relpath(target, dirname(page) or ".")


def _source(path: str) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    language = LANGUAGES.get(Path(path).suffix, "text")
    return f"---\nsearch:\n  exclude: true\n---\n# {_title(path)}\n\n~~~~~~ {language}\n{text}\n~~~~~~\n"


def _listing(path: str) -> str:
    names = sorted(p.name for p in (ROOT / path).iterdir() if not p.name.startswith(("__pycache__", ".")))
    return "\n".join([f"# {_title(path)}", "", *(f"- `{name}`" for name in names), ""])


def _title(path: str) -> str:
    return path.replace("_", r"\_")
