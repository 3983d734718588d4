"""What an export is of: a collection as it is, or what coverage has of a series."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streamforge.cli import terminal
from streamforge.cli.arguments import check_count, check_words
from streamforge.cli.command_errors import CliError, UsageProblem
from streamforge.cli.commands.series_commands import address_of, ask, types_of
from streamforge.cli.coverage_text import is_kept, load_command, no_longer, none_over, none_within, rest, wait_command
from streamforge.cli.session import Session, Where
from streamforge.manager import answers
from streamforge.manager.coverage import answers as data_answers
from streamforge_utils.model.coverage import COMPLETE, Ranged
from streamforge_utils.model.daily_collections import by_base, days_of
from streamforge_utils.model.names import is_queue_id
from streamforge_utils.model.spelling import closest

WHAT = "QUEUE_ID, COLLECTION, or SYMBOL TYPE [TIME_RANGE]"


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be exported: a collection as it is, or what coverage has of a series. name: for messages."""

    name: str
    collection: str = ""
    known: data_answers.Coverage | None = None

    @property
    def span(self) -> data_answers.CoverageSpan | None:
        """What it speaks of; None: a collection as it is."""
        return None if self.known is None else self.known.span

    @property
    def stored(self) -> list[data_answers.Segment]:
        """The ranges of it that are stored."""
        return [] if self.known is None else [one for one in self.known.segments if one.verdict == "stored"]

    @property
    def complete(self) -> bool | None:
        """Whether every hole has its reason; None: a collection as it is."""
        return None if self.span is None else all(hole.verdict in COMPLETE for hole in self.holes)

    @property
    def holes(self) -> list[data_answers.Segment]:
        """The ranges of it that are not stored."""
        return [] if self.known is None else [one for one in self.known.segments if one.verdict != "stored"]


def check_what(what: Sequence[str]) -> None:
    """Raises UsageProblem for arguments that name nothing that can be exported."""
    check_count(what, WHAT)
    if len(what) > 1:
        check_words(what)


async def select(found: Session, what: Sequence[str], where: Where, *, life: bool) -> Selection:
    """What `what` names. Raises CliError or UsageProblem."""
    if len(what) > 1 or is_queue_id(what[0]):
        path, query = address_of(what, where, life=life)
        known = found.api.read(await ask(found, path, query, what, where), data_answers.Coverage)
        return Selection(name=" ".join(what), known=known)
    if life:
        raise UsageProblem("--all speaks of the whole life of a series: write SYMBOL TYPE")
    name = what[0]
    names = [c.name for c in (await found.api.get("/collections", data_answers.Collections)).collections]
    if name not in names and not days_of(name, names):
        there = f"there are {terminal.first_of(by_base(names))}" if names else "there are none yet"
        if meant := closest(name, names):
            there = f"did you mean {meant[0]}?"
        raise CliError(
            f"{name[:80]!r} is neither a queue_id nor a collection ({there}): write {WHAT}{types_of(name, where)}"
        )
    return Selection(name=name, collection=name)


async def why_nothing(found: Session, what: Sequence[str], selection: Selection, where: Where) -> str:
    """Why there is nothing to export, and what to do."""
    nothing, known, holes = f"nothing of {selection.name} is stored", selection.known, selection.holes
    assert known is not None  # noqa: S101 - of a collection nothing is known, and nothing is asked
    if len(what) == 1:
        workflow = await found.api.get(f"/queues/{what[0]}", answers.Started)
        if not workflow.ended:
            state = terminal.state(workflow.status, workflow.undriven)
            return (
                f"{what[0]} has not ended ({state}), and nothing of its range is proven yet: wait for it with "
                f"{wait_command(what[0], where)}, then export it again"
            )
        if workflow.topic_input is not None:
            name = workflow.collection
            return (
                f"{what[0]} stored a topic, whose records are of no series: export its collection with "
                f"`streamforge export {name} --output {name}.jsonl{where.flags()}`"
            )
        if workflow.time_range.span is None:
            return f"{nothing}: {none_over(workflow.type)}"
        if workflow.status == "finished" and not is_kept(known.segments):
            return f"{nothing}: {no_longer(workflow, where)}"
        if workflow.status != "finished":
            retry = f"`streamforge retry {what[0]}{where.flags(exchange=True)}`"
            return f"{nothing}: it ended as {workflow.status}; go on with {retry}, then export it again"
    elif known.loading:
        one = known.loading[0]
        state = terminal.state(one.status, one.undriven)
        return (
            f"{nothing} yet: {one.queue_id} is to load it and has not ended ({state}); wait for it with "
            f"{wait_command(one.queue_id, where)}, then export it again"
        )
    if not holes:
        return f"{nothing}: {none_within(known.type)}"
    first = next((hole for hole in holes if hole.verdict not in COMPLETE), None)
    if first is None:
        none = "" if any(hole.verdict == "pending" for hole in holes) else "the exchange has none "
        return f"{nothing}: {none}({hole_text(holes[0])})"
    load = f"load it with {load_command(what, where)}" if len(what) == 3 else rest(known, where)
    return f"{nothing}: {hole_text(first)}; {load}"


def hole_text(hole: Ranged) -> str:
    """A hole as one reads it."""
    reason = terminal.VERDICTS.get(hole.verdict, "")
    return f"{terminal.day_span(hole.start_ms, hole.end_ms)}: {hole.verdict} ({reason})"
