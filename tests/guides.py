"""Runs the commands of a page of the manuals as they are written, block after block, as a person would type them.

A comment before a fenced block says what is done with it:

    <!-- run -->                                in the page's terminal; the page fails where the block does
    <!-- run in the background until "TEXT" --> in a terminal of its own, until the end of the page, once it said TEXT
    <!-- run, exit code 1 -->                   as `run`, but the block is to end so
    <!-- prints -->                             lines that the block before printed; `…` stands for anything
    <!-- file: PATH -->                         written to PATH
    <!-- not run: WHY -->                       shell that this test cannot run

A page that is run has no block of shell without one of these.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.limits import LIMIT_S
from tests.places import ROOT

_MARK = re.compile(
    r"^<!-- (?P<mark>(?:run|prints|file|not run)\b.*?) -->\n+"
    r"(?P<fence>`{3,}).*\n(?P<text>(?:.*\n)*?)(?P=fence)$",
    re.MULTILINE,
)
_SHELL = re.compile(r"^```(?:sh|bash|shell|console)\b", re.MULTILINE)
_END_S = 60.0


@dataclass(frozen=True)
class Step:
    """One marked block. mark: what the comment says; line: of the fence, from 1."""

    mark: str
    text: str
    line: int


class GuideError(AssertionError):
    """A page does not do what it says; the message names page, line and what was printed."""


def steps(page: str, section: str | None = None, root: Path = ROOT) -> list[Step]:
    """The marked blocks of `page`, or of one section of it (a heading of level two), in their order.

    Raises GuideError: a block of shell is not marked, or there is no such section.
    """
    text = (root / page).read_text("utf-8")
    found, fences = [], set()
    for match in _MARK.finditer(text):
        line = text.count("\n", 0, match.start("fence")) + 1
        fences.add(line)
        found.append(Step(match["mark"], match["text"], line))
    first, last = _span(page, text, section)
    for match in _SHELL.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if first < line <= last and line not in fences:
            raise GuideError(f"{page}:{line}: a block of shell that is neither run nor said not to be")
    return [step for step in found if first < step.line <= last]


def _span(page: str, text: str, section: str | None) -> tuple[int, int]:
    """The line of a section's heading, and its last line; of the whole page without one."""
    lines = text.splitlines()
    if section is None:
        return 0, len(lines)
    if f"## {section}" not in lines:
        raise GuideError(f"{page} has no section {section!r}")
    first = lines.index(f"## {section}") + 1
    return first, next((n for n, line in enumerate(lines[first:], first) if line.startswith("## ")), len(lines))


class Terminal:
    """A shell in a process group of its own, which keeps folder, variables and jobs from block to block."""

    def __init__(self, folder: Path, environ: Mapping[str, str], scratch: Path) -> None:
        self._scratch = scratch
        reading, writing = os.pipe()
        self._status = reading
        self._shell = subprocess.Popen(
            ["bash", "--norc", "-e", "-o", "pipefail"],
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.PIPE,
            pass_fds=(writing,),
            start_new_session=True,
            text=True,
        )
        self._status_number = writing
        os.close(writing)
        self._count = 0

    def start(self, text: str) -> Path:
        """Run `text`; returns the file that what it prints goes to."""
        script, out = (self._scratch / f"{id(self)}-{self._count}.{suffix}" for suffix in ("sh", "out"))
        self._count += 1
        script.write_text(text, "utf-8")
        out.touch()
        line = f"source {script} >{out} 2>&1 </dev/null {self._status_number}>&-; echo done >&{self._status_number}\n"
        assert self._shell.stdin is not None
        self._shell.stdin.write(line)
        self._shell.stdin.flush()
        return out

    def finish(self, limit_s: float) -> int | None:
        """Wait for the end of the block: 0, its exit code, or None where it does not come in time."""
        ready, _, _ = select.select([self._status], [], [], limit_s)
        if not ready:
            return None
        return 0 if os.read(self._status, 16) else self._shell.wait(_END_S)

    def close(self) -> None:
        """End everything that it started: in order first, then at once."""
        if self._shell.stdin is not None and not self._shell.stdin.closed:
            self._shell.stdin.close()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._shell.pid, number)
            except ProcessLookupError:
                break
            deadline = time.monotonic() + _END_S
            while time.monotonic() < deadline and _lives(self._shell):
                time.sleep(0.05)
        self._shell.wait(_END_S)
        os.close(self._status)


def _lives(shell: subprocess.Popen[str]) -> bool:
    shell.poll()
    try:
        os.killpg(shell.pid, 0)
    except ProcessLookupError:
        return False
    return True


class Guide:
    """A page that is being run. replace: text of the page by what this machine has instead, such as a free port."""

    def __init__(
        self, page: str, folder: Path, environ: Mapping[str, str], scratch: Path, replace: Mapping[str, str]
    ) -> None:
        self.page, self._folder, self._environ, self._scratch, self._replace = page, folder, environ, scratch, replace
        self._main = Terminal(folder, environ, scratch)
        self._others: list[Terminal] = []
        self.printed = ""
        """What the last block printed."""

    def step(self, step: Step, limit_s: float = LIMIT_S) -> None:
        """Do what the page says there. Raises GuideError."""
        kind, _, detail = step.mark.partition(":")
        text = self._replaced(step.text)
        if kind == "file":
            target = self._folder / detail.strip()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8")
        elif kind == "prints":
            self._compare(step, text)
        elif background := re.match(r'run in the background until "(.+)"', step.mark):
            self._start(step, text, background[1], limit_s)
        elif kind.startswith("run"):
            code = re.search(r"exit code (\d+)", kind)
            self._run(step, text, int(code[1]) if code else 0, limit_s)

    def _run(self, step: Step, text: str, expected: int, limit_s: float) -> None:
        if expected:
            text = f"code=0; (\n{text}) || code=$?; test $code -eq {expected}"
        out = self._main.start(text)
        code = self._main.finish(limit_s)
        self.printed = out.read_text("utf-8", errors="replace")
        if code is None:
            raise self._error(step, f"has not ended after {limit_s:g} s")
        if code:
            raise self._error(
                step, f"did not end with exit code {expected}" if expected else f"failed: exit code {code}"
            )

    def _start(self, step: Step, text: str, awaited: str, limit_s: float) -> None:
        terminal = Terminal(self._folder, self._environ, self._scratch)
        self._others.append(terminal)
        # A second terminal is where the first one is, with what it has exported.
        state = self._main.start("pwd; export -p")
        if self._main.finish(limit_s) != 0:
            raise self._error(step, "cannot ask the terminal for its variables")
        folder, exports = state.read_text("utf-8").split("\n", 1)
        out = terminal.start(f"cd {folder}\n{exports}\n{text}")
        deadline = time.monotonic() + limit_s
        while awaited not in out.read_text("utf-8", errors="replace"):
            if time.monotonic() > deadline or terminal.finish(0.1) is not None:
                self.printed = out.read_text("utf-8", errors="replace")
                raise self._error(step, f"did not print {awaited!r}")
        self.printed = out.read_text("utf-8", errors="replace")

    def _compare(self, step: Step, text: str) -> None:
        printed = _plain(self.printed)
        for line in filter(None, map(_plain, text.splitlines())):
            if not re.search(re.sub(r"(?:\\ )?…(?:\\ )?", ".*", re.escape(line)), printed):
                raise self._error(step, f"promises a line that was not printed: {line!r}")

    def _replaced(self, text: str) -> str:
        for old, new in self._replace.items():
            text = text.replace(old, new)
        return text

    def _error(self, step: Step, what: str) -> GuideError:
        return GuideError(f"{self.page}:{step.line}: {what}\n{step.text}\n--- printed:\n{self.printed[-4000:]}")

    def close(self) -> None:
        """End everything that the page started."""
        for terminal in [*self._others, self._main]:
            terminal.close()


def _plain(text: str) -> str:
    return "\n".join(" ".join(re.sub(r"\x1b\[[0-9;]*m", "", line).split()) for line in text.splitlines())


@contextmanager
def opened(
    page: str, folder: Path, environ: Mapping[str, str], scratch: Path, replace: Mapping[str, str] | None = None
) -> Iterator[Guide]:
    """A page to be run in `folder`; everything that it starts ends with the block."""
    guide = Guide(page, folder, environ, scratch, replace or {})
    try:
        yield guide
    finally:
        guide.close()


def checkout(folder: Path, without: Sequence[str] = ("build",)) -> Path:
    """A folder like the checkout, in which what is built is this test's own: its entries are links."""
    # The environment is a link too: one that is out of date would be made again by the page, from this folder.
    if subprocess.run(["make", "-q", ".venv/.setup-done"], cwd=ROOT, timeout=LIMIT_S).returncode:
        raise GuideError("the environment is older than what it is made of: run `make setup` first")
    folder.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in without:
            (folder / entry.name).symlink_to(entry)
    return folder


def repository(folder: Path) -> Path:
    """A copy of the checkout as a repository: every file that is tracked or new, in one commit."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    author = ["-c", "user.name=A reader", "-c", "user.email=reader@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "--all"], [*author, "commit", "-q", "-m", "The checkout"]):
        subprocess.run(["git", *command], cwd=folder, check=True, timeout=LIMIT_S)
    return folder


def own_environment(folder: Path) -> None:
    """Give a checkout whose `src` is a copy an environment of its own in `.venv`, as `make setup` would make it.

    It has what the real one has; the copy goes before the packages that are installed there.
    """
    real, own = (ROOT / ".venv").resolve(), folder / ".venv"
    subprocess.run([real / "bin" / "python", "-m", "venv", "--without-pip", own], check=True, timeout=LIMIT_S)
    for command in (real / "bin").iterdir():
        if not (own / "bin" / command.name).exists() and command.is_file():
            text = command.read_bytes()
            if text.startswith(b"#!"):
                (own / "bin" / command.name).write_bytes(text.replace(f"{real}/bin/".encode(), f"{own}/bin/".encode()))
                (own / "bin" / command.name).chmod(0o755)
            else:
                (own / "bin" / command.name).symlink_to(command)
    packages = Path("lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages")
    installed = real / packages
    paths = [str(folder / "src"), f"import site; site.addsitedir({str(installed)!r})"]
    (own / packages / "checkout.pth").write_text("\n".join(paths) + "\n", "utf-8")
    (own / ".setup-done").touch()


def environment(home: Path) -> dict[str, str]:
    """The environment of a person who has set nothing of StreamForge's; metrics on any free port."""
    home.mkdir(exist_ok=True)
    kept = ("PATH", "LANG", "LC_ALL", "TMPDIR", "XDG_CACHE_HOME")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "HOME": str(home),
        "STREAMFORGE_METRICS_PORT": "0",
        "COLUMNS": "200",
    }


def streamforge(folder: Path, environ: Mapping[str, str], *arguments: str, data: str = "build/data") -> str:
    """What the command line of a checkout prints, on one of its data directories."""
    command = [str(folder / ".venv" / "bin" / "streamforge"), *arguments, "--data", data]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
