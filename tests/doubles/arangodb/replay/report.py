"""Replays all lines of a file and says what came of them: covered, outside the scope, differing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.doubles.arangodb.double import ArangoDouble
from tests.doubles.arangodb.misbehaviour import Fault
from tests.doubles.arangodb.replay.compare import Comparison, compare
from tests.doubles.arangodb.replay.lines import Pair, read
from tests.doubles.arangodb.replay.prepare import SetupFailed, Stage
from tests.doubles.arangodb.replay.scope import outside
from tests.doubles.arangodb.server import Settings
from tests.limits import LIMIT_S

_FORCED = {21003: "queue-full", 21004: "queue-time", 503: "maintenance"}
"""States of a server that no request brings about: they are set as faults, and only their answer's form is checked."""


@dataclass(slots=True)
class Report:
    """What came of each line; `differing` must be empty."""

    covered: list[Pair] = field(default_factory=list)
    forced: list[Pair] = field(default_factory=list)
    outside: dict[str, list[Pair]] = field(default_factory=dict)
    differing: list[tuple[Pair, list[str]]] = field(default_factory=list)
    wording: list[tuple[Pair, str]] = field(default_factory=list)

    def text(self, *, verbose: bool = False) -> str:
        """For people: the counts by kind, every reason with its number, every difference."""
        total = len(self.covered) + len(self.differing) + sum(map(len, self.outside.values()))
        lines = [f"{total} lines: {_counted(self.covered)} covered"]
        if self.forced:
            lines[0] += f" ({len(self.forced)} of them in a state that was forced)"
        lines.append(f"outside scope: {sum(map(len, self.outside.values()))}")
        for reason, pairs in sorted(self.outside.items(), key=lambda item: -len(item[1])):
            lines.append(f"  {_counted(pairs)}: {reason}")
            if verbose:
                lines += [f"      {pair.id}" for pair in pairs]
        if self.wording:
            lines.append(f"other words in an error message (not compared): {len(self.wording)}")
            if verbose:
                lines += [f"  {pair.id}: {words}" for pair, words in self.wording]
        lines.append(f"differing: {len(self.differing)}")
        for pair, differences in self.differing:
            lines.append(f"  {pair.id}: {pair.method} {pair.path}")
            lines += [f"      {difference}" for difference in differences]
        return "\n".join(lines)


def _counted(pairs: list[Pair]) -> str:
    kinds = Counter(pair.kind or "no kind" for pair in pairs)
    return f"{len(pairs)} ({', '.join(f'{count} {kind}' for kind, count in kinds.most_common())})"


async def replay(path: Path) -> Report:
    """Replay a file of recordings, each line on a new double of its version."""
    report = Report()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT_S)) as session:
        for pair in read(path):
            reason = outside(pair)
            if reason:
                report.outside.setdefault(reason, []).append(pair)
                continue
            result = await _one(session, pair)
            if result.differences:
                report.differing.append((pair, result.differences))
            else:
                report.covered.append(pair)
                if _forced(pair):
                    report.forced.append(pair)
            report.wording += [(pair, words) for words in result.wording]
    return report


def _forced(pair: Pair) -> str | None:
    number = pair.answer.get("errorNum") if isinstance(pair.answer, dict) else None
    return _FORCED.get(number) if isinstance(number, int) else None


async def _one(session: aiohttp.ClientSession, pair: Pair) -> Comparison:
    try:
        return await _answered(session, pair)
    except Exception as error:  # one bad line, the others are replayed
        return Comparison([f"replay: {type(error).__name__}: {error}"])


async def _answered(session: aiohttp.ClientSession, pair: Pair) -> Comparison:
    settings = Settings(version=pair.server_version, cluster=pair.cluster)
    async with ArangoDouble(settings) as double:
        stage = Stage(double.url, session, pair)
        try:
            await stage.prepare()
            state = _forced(pair)
            if state:
                double.misbehaviour.add(Fault(kind=state, path=".*"))
            answer = await stage.ask()
        except SetupFailed as error:
            return Comparison([f"setup: {error}"])
    return compare(pair, answer)
