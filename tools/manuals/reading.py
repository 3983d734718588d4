"""A page of the manuals, taken apart: fenced blocks, code in backticks, links, anchors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt


@dataclass(frozen=True)
class Finding:
    """What is wrong on a page. line: from 1; 0 where the page as a whole is meant."""

    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}" if self.line else f"{self.page}: {self.text}"


@dataclass(frozen=True)
class Block:
    """A fenced or indented block. info: what stands behind the fence; line: of its first line of text."""

    info: str
    text: str
    line: int

    @property
    def language(self) -> str:
        return self.info.split()[0].strip("{}") if self.info.split() else ""


@dataclass(frozen=True)
class Piece:
    """Code in backticks, or the target of a link."""

    text: str
    line: int


@dataclass(frozen=True)
class Page:
    """path: relative to the repository, with slashes."""

    path: str
    text: str
    blocks: tuple[Block, ...]
    codes: tuple[Piece, ...]
    links: tuple[Piece, ...]
    anchors: frozenset[str]


def read(root: Path, path: str) -> Page:
    """The page at `path` below `root`."""
    return parse(path, (root / path).read_text("utf-8"))


def parse(path: str, text: str) -> Page:
    """A page from its text."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    blocks = tuple(_block(token) for token in tokens if token.type in ("fence", "code_block"))
    codes, links = [], []
    for line, child in _inline(tokens):
        if child.type == "code_inline":
            codes.append(Piece(child.content, line))
        elif child.type in ("link_open", "image"):
            links.append(Piece(str(child.attrs.get("href") or child.attrs.get("src")), line))
    return Page(path, text, blocks, tuple(codes), tuple(links), frozenset(_anchors(tokens, text)))


def _block(token: Any) -> Block:
    return Block(token.info.strip(), token.content, (token.map or [0])[0] + (2 if token.type == "fence" else 1))


def _inline(tokens: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    for token in tokens:
        line = (token.map or [0])[0] + 1
        for child in token.children or ():
            yield line, child
            line += child.type in ("softbreak", "hardbreak")


def _anchors(tokens: Sequence[Any], text: str) -> Iterator[str]:
    """Of every heading, spelt as GitLab, GitHub and the site spell it; and those that are set by hand."""
    seen: dict[str, int] = {}
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            title = "".join(c.content for c in tokens[at + 1].children or () if c.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
            number = seen.get(slug, 0)
            seen[slug] = number + 1
            yield f"{slug}-{number}" if number else slug
    yield from re.findall(r'<a (?:id|name)="([^"]+)"', text)
    yield from re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE)
