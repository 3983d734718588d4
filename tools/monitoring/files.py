"""The files that follow from the code: dashboards as JSON, and the page about the metrics."""

from __future__ import annotations

import json
from pathlib import Path

from tools.monitoring import families, grafana
from tools.monitoring.dashboards import DASHBOARDS

ROOT = families.ROOT
FOLDER = Path("deploy/components/monitoring/dashboards")
PAGE = Path("docs/reference/metrics.md")
_BY = {"streamforge": "Every service", "dummy-service": "dummy-service alone"}


def texts() -> dict[Path, str]:
    """Every generated file by its path below the checkout."""
    found = {
        FOLDER / f"{dashboard.uid.removeprefix('streamforge-')}.json": _json(grafana.rendered(dashboard))
        for dashboard in DASHBOARDS
    }
    found[PAGE] = metrics_page()
    return found


def stale(root: Path = ROOT) -> list[Path]:
    """The files that are not as the code makes them, and dashboards that it does not make."""
    wanted = texts()
    there = {path.relative_to(root) for path in (root / FOLDER).glob("*.json")}
    return sorted(
        {
            path
            for path, text in wanted.items()
            if not (root / path).exists() or (root / path).read_text("utf-8") != text
        }
        | (there - wanted.keys())
    )


def write(root: Path = ROOT) -> None:
    """Write them all, and remove dashboards that are no more."""
    for path in stale(root):
        (root / path).unlink(missing_ok=True)
    for path, text in texts().items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, "utf-8")


def metrics_page() -> str:
    """The page about the metrics: the label that all have, and Prometheus's own of a process, are said once."""
    of_services = [one for one in families.ours() if one.by == "streamforge"]
    everywhere = frozenset.intersection(*(one.labels for one in of_services))
    histograms = " and ".join(f"`{one.name}`" for one in of_services if one.kind == "histogram")
    lines = [
        "<!-- Generated from the code by `make docs`: do not edit. -->",
        "# Metrics",
        "",
        "On port 8000, under `/metrics`. A family appears with its first report; counters that alerts look at are",
        f"there from the start. Names on `_total` are counters, {histograms} histograms,",
        "the others gauges. Prometheus's own of a process (`process_…`) are there too. Dashboards, alerts and the",
        "labels that Prometheus adds: [monitoring](../how-to/monitoring.md).",
    ]
    for by, title in _BY.items():
        lines += ["", f"## {title}", ""]
        if by == "streamforge":
            lines += [f"Each has the label {', '.join(f'`{label}`' for label in sorted(everywhere))}, too.", ""]
        lines += ["| metric, with its other labels | meaning |", "|---|---|"]
        lines += [
            f"| `{one.name}`{_labels(one.labels - everywhere)} | {one.help} |"
            for one in families.ours()
            if one.by == by
        ]
    return "\n".join(lines) + "\n"


def _labels(names: frozenset[str]) -> str:
    return f" `{{{', '.join(sorted(names))}}}`" if names else ""


def _json(found: grafana.Json) -> str:
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"
