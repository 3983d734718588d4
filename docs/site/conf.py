"""How Sphinx makes the site of the manuals (`make site`).

The source is the repository itself, so that a link works on the site as it does in the tree. The navigation is what
docs/index.md lists: its headings are the groups, the links below each are the pages, in this order. The page of
decisions lists its own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pygments.lexers.special import TextLexer

ROOT = Path(__file__).resolve().parents[2]
INDEX = "docs/index"
DECISIONS = "docs/decisions/README"

project = "StreamForge"
author = "StreamForge contributors"
copyright = "StreamForge contributors, Apache License 2.0"
version = release = next(
    line.split('"')[1] for line in (ROOT / "pyproject.toml").read_text("utf-8").splitlines() if line[:7] == "version"
)

root_doc = INDEX
include_patterns = [
    "docs/**.md",
    "services/*/README.md",
    "deploy/README.md",
    "cred-kafka-yaml/README.md",
    "platform/**/README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
]
exclude_patterns = [".*", "build", "node_modules", "docs/site", "**/node_modules"]
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
nitpicky = True
highlight_language = "text"

# Headings are anchors, spelt as GitLab and GitHub spell them.
myst_heading_anchors = 4
myst_links_external_new_tab = True

html_theme = "furo"
html_title = f"StreamForge {release}"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["extra"]
html_theme_options = {"navigation_with_keys": True, "sidebar_hide_name": False}

PICTURES = "build/pictures"
"""Of the web UI, as `make pictures` takes them; a page names one by a comment, and has it where it was taken."""
_PICTURE = re.compile(r"^<!-- picture: ([a-z-]+): (.+) -->$", re.MULTILINE)
_GROUP = re.compile(r"^## (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\(([^)#]+\.md)\)")
_PAGE = re.compile(r"^- \[([^\]]+)\]\(([^)#]+\.md)\)", re.MULTILINE)


def _with_navigation(app: Any, name: str, source: list[str]) -> None:
    """Give the index a hidden table of contents per group.

    A page that it lists and that is not there is the docs checker's to name; the site is made without it.
    """
    source[0] = _PICTURE.sub(lambda named: _picture(app, named[1], named[2]), source[0])
    docs = Path(app.srcdir) / "docs"
    listed = _PAGE.findall((docs / "index.md").read_text("utf-8"))
    absent = {path for _, path in listed if not (docs / path).exists()}
    if name != INDEX:
        source[0] = _LINK.sub(lambda link: link[1] if link[2] in absent else link[0], source[0])
        if name == DECISIONS:
            source[0] += _contents("", source[0])
        return
    source[0] = "".join(line for line in source[0].splitlines(keepends=True) if not _lists(line, absent))
    groups = _GROUP.split(source[0])[1:]
    for title, text in zip(groups[::2], groups[1::2], strict=True):
        source[0] += _contents(f":caption: {title}\n", text)


def _picture(app: Any, name: str, text: str) -> str:
    """The picture of a screen, with a text in its place; nothing where it was not taken."""
    path = f"{PICTURES}/{name}.png"
    return f"![{text}](/{path})" if (Path(app.srcdir) / path).exists() else ""


def _contents(options: str, text: str) -> str:
    """A hidden table of contents of the pages that `text` lists."""
    pages = "\n".join(f"{label} <{path.removesuffix('.md')}>" for label, path in _PAGE.findall(text))
    return f"\n```{{toctree}}\n:hidden:\n{options}\n{pages}\n```\n"


def _lists(line: str, pages: set[str]) -> bool:
    page = _PAGE.match(line)
    return page is not None and page[2] in pages


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.add_lexer("aql", TextLexer)  # of ArangoDB, which Pygments does not know
    app.connect("source-read", _with_navigation)
