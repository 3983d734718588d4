"""Guides are run as written: a block without a mark, a missing line or another exit code fails with page and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import guides


def _run(folder: Path, text: str) -> guides.Guide:
    (folder / "page.md").write_text(text, "utf-8")
    scratch = folder / "scratch"
    scratch.mkdir()
    with guides.opened("page.md", folder, guides.environment(folder / "home"), scratch) as guide:
        for step in guides.steps("page.md", root=folder):
            guide.step(step, limit_s=20)
        return guide


def test_blocks_share_a_terminal_and_files_are_written(tmp_path: Path) -> None:
    page = "<!-- file: a/b.txt -->\n```text\nhello\n```\n<!-- run -->\n```sh\nexport X=1\ncd a\n```\n"
    guide = _run(
        tmp_path, page + "<!-- run -->\n```sh\ncat b.txt; echo $X\n```\n<!-- prints -->\n```text\nhel…\n1\n```\n"
    )
    assert guide.printed == "hello\n1\n"


def test_what_runs_in_the_background_has_the_terminals_variables_and_ends_with_the_page(tmp_path: Path) -> None:
    page = "<!-- run -->\n```sh\nexport X=ready\n```\n"
    page += '<!-- run in the background until "ready" -->\n```sh\necho $$ >pid; echo $X; sleep 600\n```\n'
    _run(tmp_path, page)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("```sh\ntrue\n```\n", "page.md:1: a block of shell that is neither run nor said not to be"),
        ("# A\n\n<!-- run -->\n```sh\ntrue\nfalse\n```\n", "page.md:4: failed: exit code 1"),
        ("<!-- run -->\n```sh\nfalse | true\n```\n", "page.md:2: failed"),
        ("<!-- run, exit code 3 -->\n```sh\nexit 2\n```\n", "page.md:2: did not end with exit code 3"),
        ("<!-- run -->\n```sh\necho one\n```\n<!-- prints -->\n```text\ntwo\n```\n", "was not printed: 'two'"),
        ('<!-- run in the background until "up" -->\n```sh\necho down\n```\n', "did not print 'up'"),
    ],
)
def test_what_does_not_hold_is_told_with_page_and_line(tmp_path: Path, page: str, message: str) -> None:
    with pytest.raises(guides.GuideError) as told:
        _run(tmp_path, page)
    assert message in str(told.value)


def test_what_is_not_run_is_said(tmp_path: Path) -> None:
    assert _run(tmp_path, "<!-- not run: no server here -->\n```sh\nfalse\n```\n").printed == ""
