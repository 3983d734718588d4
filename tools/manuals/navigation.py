"""Links and anchors lead somewhere, and the index, or a README.md that it lists, names every page of docs/."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping

from tools.manuals.reading import Finding, Page, Piece
from tools.manuals.repository import Repository

INDEX = "docs/index.md"
_COMING: tuple[str, ...] = ()
COMING = frozenset(f"docs/{name}.md" for name in _COMING)
"""Pages that the navigation may name before they are there."""
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def check(repository: Repository, pages: Mapping[str, Page]) -> Iterator[Finding]:
    """pages: every page by its path."""
    for page in pages.values():
        for link in page.links:
            if not _SCHEME.match(link.text):
                yield from _link(repository, pages, page, link)
    index = pages.get(INDEX)
    if index is None:
        yield Finding(INDEX, 0, "is missing: it is the navigation")
        return
    listed = _listed(index)
    for path in sorted(listed & pages.keys()):
        if path.startswith("docs/") and path.endswith("/README.md"):
            listed |= _listed(pages[path])
    for path in pages:
        if path.startswith("docs/") and path != INDEX and path not in listed:
            yield Finding(
                path, 0, f"is not in the navigation: add it to a group of {INDEX}, or to its folder's README.md"
            )


def _link(repository: Repository, pages: Mapping[str, Page], page: Page, link: Piece) -> Iterator[Finding]:
    path, _, anchor = link.text.partition("#")
    target = _target(page, path) if path else page.path
    if target in COMING and target not in repository.files:
        return
    if path and target not in repository.files:
        if target not in repository.folders:
            yield Finding(page.path, link.line, f"the link {link.text!r} leads to no file: {target}")
        elif page.path.startswith("docs/"):
            yield Finding(page.path, link.line, f"the link {link.text!r} leads to a folder, which the site cannot show")
    elif anchor and target in pages and anchor not in pages[target].anchors:
        yield Finding(page.path, link.line, f"{target} has no heading #{anchor}")


def _listed(page: Page) -> set[str]:
    return {_target(page, link.text.partition("#")[0]) for link in page.links if not _SCHEME.match(link.text)}


def _target(page: Page, path: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page.path), path))
