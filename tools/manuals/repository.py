"""What there is in the repository, for the checks to compare with: files, verbs, settings, metrics, routes, alerts."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cached_property
from pathlib import Path

SETTING = re.compile(
    r"\b(?:STREAMFORGE|KAFKA|ARANGO|BINANCE|K8S|QUEUE|TELEMETRY)_[A-Z0-9]+(?:_[A-Z0-9]+)*\b(?![-\w]|\.\w)"
)
_ENVIRONMENT = re.compile(r"<!-- environment\b.*?<!-- /environment -->", re.DOTALL)
CODE = ("src/", "libs/", "deploy/", "platform/", "services/", "tools/", "benchmarks/", ".ci/", ".devcontainer/", ".git")
"""Where settings are read or set; the tests, which also try names that are none, are left out."""
_TEXTS = (
    ".py",
    ".sh",
    ".yaml",
    ".yml",
    ".toml",
    ".env",
    ".json",
    ".cfg",
    ".in",
    "Makefile",
    "Dockerfile",
    "run",
    ".mk",
)


class Repository:
    """The repository at `root`: what is tracked in it, and what is about to be."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def files(self) -> frozenset[str]:
        """Every file, tracked or new, that is not ignored; paths with slashes."""
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z"],  # noqa: S607
            cwd=self.root,
            capture_output=True,
            check=True,
            text=True,
        )
        return frozenset(path for path in listed.stdout.split("\0") if path and (self.root / path).is_file())

    @cached_property
    def folders(self) -> frozenset[str]:
        """Every folder that holds a file."""
        return frozenset(str(parent) for path in self.files for parent in Path(path).parents if str(parent) != ".")

    @cached_property
    def names(self) -> frozenset[str]:
        """Every end of a path of a file or folder: of `a/b/c.py` that is `c.py`, `b/c.py` and the whole."""
        ends: set[str] = set()
        for path in (*self.files, *self.folders):
            parts = path.split("/")
            ends.update("/".join(parts[at:]) for at in range(len(parts)))
        return frozenset(ends)

    @cached_property
    def persons_files(self) -> frozenset[str]:
        """Files that a person puts beside ours: what .gitignore lists by its whole path."""
        if ".gitignore" not in self.files:
            return frozenset()
        return frozenset(re.findall(r"^/([^*\s]+[^*\s/])$", self._text(".gitignore"), re.MULTILINE))

    @property
    def pages(self) -> list[str]:
        """The pages of the manuals and every other Markdown file."""
        return sorted(path for path in self.files if path.endswith(".md"))

    @cached_property
    def verbs(self) -> frozenset[str]:
        """The targets of the Makefile."""
        return frozenset(re.findall(r"^([a-z][a-z0-9-]*):", self._text("Makefile"), re.MULTILINE))

    @cached_property
    def make_variables(self) -> frozenset[str]:
        """The variables of the Makefile and of what it runs."""
        return frozenset(
            re.findall(r"\$[({](?:if )?\$?\(?([A-Z_]+)", self._text("Makefile") + self._text("tools/lock.sh"))
        )

    @cached_property
    def _code(self) -> str:
        read = (
            path
            for path in sorted(self.files)
            if path == "Makefile" or (path.startswith(CODE) and path.endswith(_TEXTS))
        )
        return "\n".join(self._text(path) for path in read)

    @cached_property
    def settings(self) -> frozenset[str]:
        """Every setting: those of the generated tables, which follow from the code, and others that the code names."""
        readmes = (self._text(path) for path in self.files if re.fullmatch(r"services/[^/]+/README\.md", path))
        tables = (table for text in readmes for table in _ENVIRONMENT.findall(text))
        return frozenset(SETTING.findall("\n".join((self._code, self._text("docs/reference/settings.md"), *tables))))

    @cached_property
    def literals(self) -> frozenset[str]:
        """Every short string literal of the code: names of metrics, of files that it writes, of topics."""
        return frozenset(re.findall(r"[\"']([A-Za-z][\w.-]{1,80})[\"']", self._code))

    @cached_property
    def ports(self) -> frozenset[int]:
        """The ports that ours listen on by default."""
        return frozenset(int(port) for port in re.findall(r"(?i)port\w*(?:: \w+)? = (\d{4,5})\b", self._code))

    @cached_property
    def routes(self) -> frozenset[tuple[str, str]]:
        """The HTTP API: method and path, its parameters as `{}`. From the page that is generated from the code."""
        paths = json.loads(self._text("docs/reference/openapi.json"))["paths"]
        named = ((m.upper(), path) for path, methods in paths.items() for m in methods)
        return frozenset((method, re.sub(r"\{[^}]*\}", "{}", path)) for method, path in named)

    @cached_property
    def alerts(self) -> frozenset[str]:
        """The alerts that are shipped."""
        rules = (
            path
            for path in self.files
            if path.startswith(("deploy/", "platform/")) and path.endswith((".yaml", ".yml"))
        )
        return frozenset(name for path in rules for name in re.findall(r"\balert: (\w+)", self._text(path)))

    def _text(self, path: str) -> str:
        try:
            return (self.root / path).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return ""
