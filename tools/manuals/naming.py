"""Everything that a page names is there: settings, files, metrics, alerts, routes, ports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from tools.manuals.reading import Finding, Page, Piece
from tools.manuals.repository import SETTING, Repository

FOREIGN_SETTINGS = {"ARANGO_ROOT_PASSWORD", "KAFKA_OPTS", "KAFKA_HEAP_OPTS"}
"""Variables of other programs whose names look like ours."""
FOREIGN_PORTS = {443, 2222, 3000, 8001, 8081, 8443, 8529, 8888, 9090, 9092, 9093, 9094}
"""Where other programs listen by default: ArangoDB, Kafka, Prometheus, Grafana, Jupyter and the like."""
BUILT = ("build/", "dist/", ".venv/", "node_modules/")
"""What is made, and so not in the repository."""
_FILE = re.compile(r"^[\w.{}<>*,/-]*[\w}>*]\.(?:py|md|ya?ml|sh|toml|env|in|ipynb|jsonl?|txt|html|xml)$")
_METRIC = re.compile(r"\bstreamforge_[a-z0-9_]+\b")
_NO_METRIC = {"streamforge_utils", "streamforge_market_data", "streamforge_states"}
_ALERT = re.compile(r"\bStreamForge[A-Z]\w+")
_ROUTE = re.compile(r"^(GET|POST|PUT|DELETE|PATCH) (/[^\s?]*)")
_PORT = re.compile(r"\b(?:localhost|127\.0\.0\.1|\[::1\]):(\d{2,5})\b")
_ELSEWHERE = ("/", "~", "$", "../shared/")
_DESCRIPTIONS = {("GET", "/openapi.json"), ("GET", "/docs")}
"""Routes that no description describes."""
_FOREIGN_FILES = {"values.yaml", "values.yml", "Chart.yaml", "jupyterhub_config.py", "package.json", "requirements.txt"}


def check(repository: Repository, page: Page, ports: frozenset[int] = frozenset()) -> Iterator[Finding]:
    """ports: others that are known, such as those the page itself gives to a command."""
    for number, line in enumerate(page.text.splitlines(), 1):
        for name in SETTING.findall(line):
            if name not in repository.settings and name not in FOREIGN_SETTINGS:
                yield Finding(page.path, number, f"there is no setting {name}")
        for name in _METRIC.findall(line):
            if not _is_metric(repository, name):
                yield Finding(page.path, number, f"there is no metric {name}")
        for name in _ALERT.findall(line):
            is_class = f"class {name}" in line or f"streamforge.{name}" in line
            if name not in repository.alerts and page.path != "CHANGELOG.md" and not is_class:
                yield Finding(page.path, number, f"there is no alert {name}")
        for port in map(int, _PORT.findall(line)):
            if port not in repository.ports | FOREIGN_PORTS | ports:
                yield Finding(page.path, number, f"nothing listens on port {port} by default")
    for code in page.codes:
        yield from _file(repository, page, code)
        if (route := _ROUTE.match(code.text)) and not _is_route(repository, route[1], route[2]):
            yield Finding(page.path, code.line, f"the HTTP API has no route {route[1]} {route[2]}")


def _is_metric(repository: Repository, name: str) -> bool:
    if name in _NO_METRIC or name.endswith("_"):
        return True
    full = name.removeprefix("streamforge_")
    return bool({full, re.sub(r"_(?:total|bucket|sum|count|created)$", "", full)} & repository.literals)


def _is_route(repository: Repository, method: str, path: str) -> bool:
    parts = (path.rstrip("/.,") or "/").split("/")
    known = (route.split("/") for known_method, route in repository.routes if known_method == method)
    if any(
        len(route) == len(parts) and all(o in ("{}", t) for o, t in zip(route, parts, strict=True)) for route in known
    ):
        return True
    # Binance's, which the test exchange speaks, are of another API.
    return (method, path) in _DESCRIPTIONS or path.startswith(("/api/v3", "/fapi"))


def _file(repository: Repository, page: Page, code: Piece) -> Iterator[Finding]:
    name = code.text.strip()
    top = name.split("/")[0]
    looks_like_ours = "/" in name and " " not in name and (top in repository.folders or top in repository.files)
    if not (_FILE.match(name) or looks_like_ours) or name.startswith((*BUILT, *_ELSEWHERE)) or "=" in name:
        return
    if name not in repository.persons_files and not exists(repository, page, name):
        yield Finding(page.path, code.line, f"there is no file {name}")


def exists(repository: Repository, page: Page, name: str) -> bool:
    """Whether `name` is a file or folder, of the repository or written by the code.

    It may be the end of a path, be relative to the page, and hold `*`, `<name>`, `NAME` or `{a,b}`.
    """
    bare = re.sub(r"#.*$|:\d+$", "", name).rstrip("/")
    bare = bare.removeprefix("./")
    while bare.startswith("../"):
        bare = bare.removeprefix("../")
    if bare in repository.names or bare.split("/")[-1] in repository.literals | _FOREIGN_FILES:
        return True
    pattern = re.sub(r"\{[^}]*\}|<[^>]*>|\b[A-Z_]{4,}\b", "*", bare)
    return "*" in pattern and any(fnmatchcase(path, pattern) for path in repository.names)
