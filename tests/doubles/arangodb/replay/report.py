"""Replays all lines of a file and says what came of them: covered, outside the scope, differing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.doubles.arangodb.dispatch import FAMILIES
from tests.doubles.arangodb.double import ArangoDouble
from tests.doubles.arangodb.misbehaviour import Fault
from tests.doubles.arangodb.replay.compare import compare
from tests.doubles.arangodb.replay.lines import Pair, read
from tests.doubles.arangodb.replay.prepare import Answer, NotReplayable, SetupFailed, Stage
from tests.doubles.arangodb.server import Settings
from tests.limits import LIMIT_S


def outside(pair: Pair) -> str | None:
    """Why a line is not replayed; None for one that is."""
    family = pair.family
    if not pair.method or not pair.path or pair.status is None:
        return "no HTTP request and answer in the line (errors seen by a shell)"
    if family == "_open/auth" or (family not in FAMILIES and pair.status != 401):
        return f"a family of calls that StreamForge does not use: /{family}"
    if "x-arango-async" in pair.headers:
        return "a call that is answered later, by a family that StreamForge does not use: /_api/job"
    if pair.method == "POST" and family == "_api/index" and not pair.body:
        return "its request body is not in the recording"
    # A line's note says which version it was written for.
    if "newest devel" in pair.note or (pair.version.startswith("devel") and "/_api/document?collection=" in pair.path):
        return "a test of the version after 3.12, whose answer 3.11 and 3.12 do not give"
    if "older snapshot" in pair.note:
        return "asserted by a test that a newer one or a recording supersedes"
    return None


_FORCED = {21003: "queue-full", 21004: "queue-time", 503: "maintenance"}
"""States of a server that no request brings about: they are set as faults, and only their answer's form is checked."""


@dataclass(slots=True)
class Report:
    """What came of each line; `differing` must be empty. By reason: those outside the scope, those not replayable."""

    covered: list[Pair] = field(default_factory=list)
    forced: list[Pair] = field(default_factory=list)
    outside: dict[str, list[Pair]] = field(default_factory=dict)
    not_replayable: dict[str, list[Pair]] = field(default_factory=dict)
    differing: list[tuple[Pair, list[str]]] = field(default_factory=list)

    def text(self) -> str:
        """For people: the counts by kind, every reason with its number, every difference."""
        lines = [f"{_counted(self.covered)} covered ({len(self.forced)} of them in a state that was forced)"]
        lines += [f"outside: {_counted(pairs)}: {reason}" for reason, pairs in self.outside.items()]
        for reason, pairs in self.not_replayable.items():
            lines.append(f"not replayable: {_counted(pairs)}: {reason}")
            lines += [f"  {pair.id}: {pair.method} {pair.path}" for pair in pairs]
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
            if not pair.unreadable and (reason := outside(pair)):
                report.outside.setdefault(reason, []).append(pair)
                continue
            try:
                differences = await _one(session, pair)
            except NotReplayable as unknown:
                report.not_replayable.setdefault(str(unknown), []).append(pair)
                continue
            if differences:
                report.differing.append((pair, differences))
            else:
                report.covered.append(pair)
                if _forced(pair):
                    report.forced.append(pair)
    return report


def _forced(pair: Pair) -> str | None:
    number = pair.answer.get("errorNum") if isinstance(pair.answer, dict) else None
    return _FORCED.get(number) if isinstance(number, int) else None


async def _one(session: aiohttp.ClientSession, pair: Pair) -> list[str]:
    """What differs. Raises NotReplayable."""
    if pair.unreadable:
        raise NotReplayable(pair.unreadable)
    async with ArangoDouble(Settings(version=pair.server_version, cluster=pair.cluster)) as double:
        stage = Stage(double.url, session, pair)
        try:
            await stage.prepare()
            if (state := _forced(pair)) is not None:
                double.misbehaviour.add(Fault(kind=state, path=".*"))
            answer = await stage.ask()
            differences = compare(pair, answer)
        except SetupFailed as error:
            return [f"setup: {error}"]
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, aiohttp.ClientError) as error:
            # What was recorded has a form that nobody here has seen.
            raise NotReplayable(f"an unknown form of recording: {type(error).__name__}: {error}") from error
        if differences and (unknown := _unknown(pair, answer)):
            raise NotReplayable(unknown)
        return differences


def _unknown(pair: Pair, answer: Answer) -> str | None:
    """What the double does not know of a call that a real server answered; None where it knows the call."""
    if pair.status is not None and pair.status >= 400:
        return None
    if answer.status == 500 and not answer.headers.get("content-type", "").startswith("application/json"):
        return f"a call on which the double fails: {pair.method} /{pair.family}"
    try:
        said = answer.json()
    except ValueError:
        return None
    number = said.get("errorNum") if isinstance(said, dict) else None
    if number in (404, 405):
        return f"an unknown call: {pair.method} /{pair.family}"
    if number == 1501:
        return f"AQL that the double does not know: {said['errorMessage']}"
    return None
