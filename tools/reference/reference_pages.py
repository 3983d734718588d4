"""`make docs`: writes the reference that follows from the code; `--check` names the pages that are stale."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from streamforge.manager.api.app import create_app
from streamforge.manager.catalogue import asyncapi, schemas
from tools.reference.cli_page import cli_page
from tools.reference.codes_page import codes_page
from tools.reference.example_jobs import manifests
from tools.reference.http_page import http_page
from tools.reference.settings_page import environments, settings_page
from tools.reference.topics_page import messages_page, topics_page

FOLDER = Path("docs") / "reference"
OTHERS = frozenset(FOLDER / name for name in ("metrics.md", "benchmarks.md", "results.md"))
"""Pages of the folder that other commands write."""
NOTE = "<!-- Generated from the code by `make docs`: do not edit. -->\n"


def pages(root: Path) -> dict[Path, str]:
    """Every generated page by its path below `root`."""
    routes, topics, messages = openapi(), asyncapi.document(), schemas.message_schemas()
    found = {FOLDER / "cli.md": NOTE + cli_page(), FOLDER / "settings.md": NOTE + settings_page()}
    found[FOLDER / "openapi.json"] = _json(routes, indent=0)  # a third of it would be spaces
    found[FOLDER / "asyncapi.json"] = _json(topics)
    found[FOLDER / "messages.md"] = NOTE + messages_page(messages)
    found[FOLDER / "codes.md"] = NOTE + codes_page()
    found[FOLDER / "topics.md"] = NOTE + topics_page(topics)
    found[FOLDER / "http-api.md"] = NOTE + http_page(routes)
    found |= dict(manifests())
    for name, schema in messages.items():
        found[FOLDER / "schemas" / f"{name}.json"] = _json(schema)
    for target, table in environments():
        readme = Path("services") / target / "README.md"
        if (root / readme).exists():
            found[readme] = _between((root / readme).read_text("utf-8"), "environment", table)
    return found


def _between(text: str, mark: str, new: str) -> str:
    """`text` with `new` between its marks `<!-- mark … -->` and `<!-- /mark -->`, if it has them."""
    marked = re.compile(rf"(<!-- {mark}\b[^>]*-->\n).*?(<!-- /{mark} -->)", re.DOTALL)
    return marked.sub(lambda match: f"{match[1]}\n{new}\n{match[2]}", text)


def openapi() -> dict[str, Any]:
    """The HTTP API as OpenAPI 3.1."""
    described: dict[str, Any] = create_app(None).openapi()  # type: ignore[arg-type]  # described, not served
    return described


def stale(root: Path, wanted: dict[Path, str]) -> list[Path]:
    """The pages below `root` that are missing, differ from `wanted`, or should not be there."""
    wrong = [path for path, text in wanted.items() if _read(root / path) != text]
    there = {path.relative_to(root) for path in (root / FOLDER).rglob("*") if path.is_file()}
    return sorted([*wrong, *(path for path in there - OTHERS if path not in wanted)])


def main(arguments: list[str] | None = None) -> int:
    """Write the pages, or check them: 1 if one is stale."""
    parser = argparse.ArgumentParser(prog="python -m tools.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; name the pages that are stale")
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout")
    given = parser.parse_args(arguments)
    root: Path = given.root
    if not (root / "pyproject.toml").is_file():
        print(f"reference: {root.absolute()} is no checkout: name one with --root", file=sys.stderr)
        return 2
    wanted = pages(root)
    wrong = stale(root, wanted)
    if given.check:
        for path in wrong:
            print(f"reference: {path} is stale: run `make docs`", file=sys.stderr)
        return 1 if wrong else 0
    for path in wrong:
        if path not in wanted:
            (root / path).unlink()
            print(f"reference: removed {path}")
            continue
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(wanted[path], "utf-8")
        print(f"reference: wrote {path}")
    return 0


def _json(value: object, indent: int = 1) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False, sort_keys=False) + "\n"


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
