"""The card as a page of HTML with pictures as SVG: one file, without scripts, and nothing that it loads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape

from streamforge.analytics.models.card import (
    COLUMNS,
    NO_T,
    Card,
    SwitchScore,
    by_model,
    score_row,
    signal_text,
    switch_row,
    training_text,
)
from streamforge.analytics.models.verdict import Difference

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: .85rem; } .wide { overflow-x: auto; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #d8dde5; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.note { color: #5a6575; font-size: .85rem; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: #5a6575; }
"""
_COLOURS = ("#0b6bcb", "#d1495b", "#2e8b57", "#8a5fbf", "#b8860b", "#5a6575")
_SHOWN = ("graph", "no_edges", "shuffled", "lightgbm", "ridge", "low_volatility")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 900, 300, 64, 150, 12, 28
_ROW = 22


def html(card: Card) -> str:
    """The page; equal cards have equal ones."""
    told = card.verdict
    title = f"{'' if card.training is None else f'{card.training.name}: '}{told.outcome.value}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(signal_text(told))}</p>",
        f"<ul>{''.join(f'<li>{escape(one)}</li>' for one in told.reasons)}</ul>" if told.reasons else "",
        f"<p>{card.moments} moments from {_day(card.first_ms)} to {_day(card.last_ms)}, {card.coins[0]} to "
        f"{card.coins[1]} coins, horizon {card.dataset.horizon} bars of {escape(card.dataset.graph.interval)}, seeds "
        f"{', '.join(map(str, card.settings.seeds))}, fees {card.settings.fee_bp:g} bp, {card.trials} trials.</p>",
        "<h2>Equity after fees</h2>",
        _equity(card),
        "<h2>Rank-IC of the model on the graph, by month</h2>",
        _months(card),
        "<h2>Rank-IC of the graph less that of others, with 95 % intervals</h2>",
        _intervals(told.differences),
        "<h2>Models</h2>",
        _table(COLUMNS, (score_row(one) for one in by_model(card.scores))),
        '<p class="note">Means over seeds. accuracy: of the direction, with the 95 % interval of the first seed. '
        f"{NO_T}</p>",
        "<h2>Switchboard: datasets that are wrong on purpose</h2>",
        _board(card.switchboard),
        _table(
            ["wrong on purpose", "model", "rank-IC", "of the right one", "t", "Sharpe net"],
            (switch_row(one) for one in card.switchboard),
        ),
        '<p class="note">Not a claim that it can be traded: no spread, no slippage, no cost of being short.</p>',
        f'<p class="note">Predictions {escape(card.predictions_sha256)}, dataset {escape(card.dataset_sha256)}.</p>',
        "" if card.training is None else f'<p class="note">{escape(training_text(card.training))}</p>',
    ]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    body = "\n".join(part for part in parts if part)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _equity(card: Card) -> str:
    times = card.series.times_ms
    by_name = {one.model: one.equity for one in card.series.models}
    shown = [name for name in _SHOWN if name in by_name]
    scale = _Scale([value for name in shown for value in by_name[name]], _HEIGHT, least=1.0)
    first, length = times[0], max(1, times[-1] - times[0])
    across = [_LEFT + (time - first) / length * (_WIDTH - _LEFT - _RIGHT) for time in times]
    lines = []
    for place, name in enumerate(shown):
        points = " ".join(f"{x:.1f},{scale.y(value):.1f}" for x, value in zip(across, by_name[name], strict=True))
        colour, y = _COLOURS[place], _TOP + 14 + 18 * place
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>')
        lines.append(f'<rect x="{_WIDTH - _RIGHT + 12}" y="{y - 9}" width="10" height="10" fill="{colour}"/>')
        lines.append(f'<text x="{_WIDTH - _RIGHT + 28}" y="{y}">{escape(name)}</text>')
    ends = [(across[0], "start", _day(times[0])), (across[-1], "end", _day(times[-1]))]
    lines += [f'<text x="{x:.1f}" y="{_HEIGHT - 8}" text-anchor="{at}">{text}</text>' for x, at, text in ends]
    return _picture("Equity of each model over time", _HEIGHT, [*scale.grid(2), *lines])


def _months(card: Card) -> str:
    values = next(one.rank_ic for one in card.series.models if one.model == "graph")
    scale = _Scale([one for one in values if one is not None], _HEIGHT, least=0.0)
    width = (_WIDTH - _LEFT - _RIGHT) / len(values)
    bars = []
    every = -(-len(values) // 12)
    for place, (month, value) in enumerate(zip(card.series.months, values, strict=True)):
        x = _LEFT + place * width
        if value is not None:
            top, bottom = sorted((scale.y(value), scale.y(0.0)))
            colour = _COLOURS[0] if value >= 0 else _COLOURS[1]
            bars.append(
                f'<rect x="{x + width * 0.15:.1f}" y="{top:.1f}" width="{width * 0.7:.1f}" '
                f'height="{bottom - top:.1f}" fill="{colour}"><title>{month}: {value:.4f}</title></rect>'
            )
        if place % every == 0:
            bars.append(f'<text x="{x + width / 2:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{month}</text>')
    return _picture("Rank-IC of each month", _HEIGHT, [*scale.grid(3), *bars])


def _intervals(differences: Sequence[Difference]) -> str:
    rows = [(f"{one.other}, seed {one.seed}", one.low, one.mean, one.high) for one in differences]
    return _rows("Intervals of the differences", rows, "{:+.4f} ({:+.4f} to {:+.4f})")


def _board(board: Sequence[SwitchScore]) -> str:
    rows = [(one.switch, min(0.0, one.rank_ic), one.rank_ic, max(0.0, one.rank_ic)) for one in board]
    return _rows("Rank-IC of each switch", rows, "{:.4f}")


def _rows(title: str, rows: Sequence[tuple[str, float, float, float]], text: str) -> str:
    """A line for each row, from low to high, with a dot at the value between."""
    left, right = 170, 210
    least, most = min([0.0, *(one[1] for one in rows)]), max([0.0, *(one[3] for one in rows)])
    length = (most - least) or 1.0

    def x(value: float) -> float:
        return left + (value - least) / length * (_WIDTH - left - right)

    height = _ROW * len(rows) + 16
    lines = [f'<line x1="{x(0):.1f}" x2="{x(0):.1f}" y1="0" y2="{height}" stroke="#9aa4b2"/>']
    for place, (name, low, value, high) in enumerate(rows):
        y = 18 + _ROW * place
        lines.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        lines.append(
            f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y}" y2="{y}" stroke="{_COLOURS[0]}" stroke-width="3"/>'
        )
        lines.append(f'<circle cx="{x(value):.1f}" cy="{y}" r="4" fill="{_COLOURS[0]}"/>')
        lines.append(f'<text x="{_WIDTH - right + 10}" y="{y + 4}">{text.format(value, low, high)}</text>')
    return _picture(title, height, lines)


class _Scale:
    """From values to places, the largest at the top. least: a value that is shown as well."""

    def __init__(self, values: Sequence[float], height: int, least: float) -> None:
        self._low, self._high = min([least, *values]), max([least, *values])
        self._height = height - _TOP - _BOTTOM
        if self._low == self._high:
            self._high += 1.0

    def y(self, value: float) -> float:
        return _TOP + (self._high - value) / (self._high - self._low) * self._height

    def grid(self, digits: int) -> list[str]:
        """Five lines with their values."""
        lines = []
        for part in range(5):
            value = self._low + (self._high - self._low) * part / 4
            y = self.y(value)
            lines.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e7ed"/>')
            lines.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.{digits}f}</text>')
        return lines


def _picture(title: str, height: int, lines: Iterable[str]) -> str:
    inside = "\n".join(lines)
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}">\n{inside}\n</svg>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    names = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    return f'<div class="wide"><table><thead><tr>{names}</tr></thead><tbody>\n{body}</tbody></table></div>'


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d")
