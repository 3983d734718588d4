"""The site of the manuals: built without a warning, ended by a bad link, its navigation in groups."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.places import ROOT

GROUPS = [
    "Tutorials",
    "How to use it",
    "How to install and operate it",
    "How to develop it",
    "Explanation",
    "Reference",
    "Services",
]
BUILDER = ROOT / "build" / "site-env" / "bin" / "sphinx-build"


@pytest.fixture(scope="module")
def site() -> Path:
    """The site, built as CI does it; the first time its environment is made."""
    # A make that runs the tests says how many jobs it has; this one is another.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(["make", "site"], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / "build" / "site"


def test_every_page_of_the_manuals_is_on_the_site_and_can_be_searched(site: Path) -> None:
    pages = {path.relative_to(ROOT).with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert {path for path in pages if not (site / path).exists()} == set()
    index = (site / "searchindex.js").read_text("utf-8")
    assert "docs/tutorials/getting-started" in index
    assert 'url=docs/index.html"' in (site / "index.html").read_text("utf-8")


def test_the_navigation_of_each_page_has_the_groups(site: Path) -> None:
    for page in ("docs/index.html", "docs/how-to/backup.html", "services/arango-candles/README.html"):
        captions = re.findall(r'class="caption-text">([^<]+)<', (site / page).read_text("utf-8"))
        assert captions[: len(GROUPS)] == GROUPS


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("# A\n\n[x](nowhere.md)\n", "nowhere.md"),
        ("# A\n\n[x](#nowhere)\n", "nowhere"),
        ("# A\n\n[x](b.md#nowhere)\n", "nowhere"),
        ("# A\n\n```json\n{nothing\n```\n", "Lexing"),
    ],
)
def test_a_page_with_a_fault_ends_the_build(site: Path, tmp_path: Path, text: str, warning: str) -> None:
    assert _built(tmp_path, "# A\n\n[x](b.md#there)\n", "- [A](a.md): a\n- [B](b.md): b\n")[0] == 0
    code, said = _built(tmp_path, text, "- [A](a.md): a\n- [B](b.md): b\n")
    assert code != 0
    assert warning in said


def test_a_picture_of_the_web_ui_is_on_its_page_where_it_was_taken(site: Path, tmp_path: Path) -> None:
    page = "# A\n\n<!-- picture: workflows: The list -->\n"
    assert _built(tmp_path, page, "- [A](a.md): a\n- [B](b.md): b\n")[0] == 0
    assert "<img" not in (tmp_path / "out" / "docs" / "a.html").read_text("utf-8").split("<h1>")[1]
    taken = tmp_path / "build" / "pictures" / "workflows.png"
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"a picture")
    assert _built(tmp_path, page, "- [A](a.md): a\n- [B](b.md): b\n")[0] == 0
    assert '<img alt="The list" src="../_images/workflows.png"' in (tmp_path / "out/docs/a.html").read_text("utf-8")


def test_a_page_that_no_group_names_ends_the_build(site: Path, tmp_path: Path) -> None:
    code, said = _built(tmp_path, "# A\n", "- [B](b.md): b\n")
    assert code != 0
    assert "isn't included in any toctree" in said


def _built(folder: Path, page: str, listed: str) -> tuple[int, str]:
    """Builds a site of three pages as `make site` does; its exit code and what it said."""
    docs = folder / "docs"
    docs.mkdir(exist_ok=True)
    (docs / "a.md").write_text(page, "utf-8")
    (docs / "b.md").write_text("# B\n\n## There\n", "utf-8")
    (docs / "index.md").write_text(f"# Index\n\n## Start\n\n{listed}", "utf-8")
    command: list[str | Path] = [
        BUILDER,
        "-q",
        "-E",
        "-W",
        "--keep-going",
        "-b",
        "html",
        "-c",
        ROOT / "docs" / "site",
        folder,
        folder / "out",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr
