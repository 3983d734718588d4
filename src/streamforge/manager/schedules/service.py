"""The use cases of schedules, which the HTTP API offers."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, MutableSequence, Sequence
from typing import Any, NamedTuple

import msgspec

from streamforge.manager.admission import NO_ARCHIVE
from streamforge.manager.batches.requests import BatchRequest
from streamforge.manager.batches.symbol_chooser import Chooser
from streamforge.manager.batches.symbol_selection import check_words, is_pattern, select, shortened
from streamforge.manager.continuation import LAST, asked_range
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.refusals import NotFound, NotNow
from streamforge.manager.engine.request_notes import log_request
from streamforge.manager.persistence.change_notes import SCHEDULE
from streamforge.manager.persistence.conflicts import until_stored
from streamforge.manager.problem_codes import ProblemCode
from streamforge.manager.schedules.driver import ScheduleDriver, Start
from streamforge.manager.schedules.fire_times import checked_cron
from streamforge.manager.schedules.model import (
    MOST_FAILURES,
    MOST_SYMBOLS,
    OVERDUE_MS,
    Definition,
    Run,
    RunState,
    Schedule,
    by_hand,
    overdue_ms,
)
from streamforge.manager.schedules.scores import Score, checked_scores, or_score
from streamforge.manager.schedules.store import StoredSchedule
from streamforge.manager.use_cases import StartRequest
from streamforge.manager.workflow_labels import check_labels
from streamforge.manager.workflows.analyses.model_input import SCORE_TYPE
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge.manager.workflows.series.requests import archive_loader
from streamforge_utils.model.errors import (
    ConfigError,
    InvalidInput,
    StreamForgeError,
    noted,
    raise_noted,
)
from streamforge_utils.model.kinds.registry import check_series, kind_of_type, series_of
from streamforge_utils.model.series import check_symbol
from streamforge_utils.model.spelling import closest
from streamforge_utils.model.timeranges import format_ms

MOST_SCHEDULES = 200
_LIST_WITHIN_S = 5.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_NAMED = 5


class Listed(NamedTuple):
    """A schedule and what is to be said of it at the moment.

    next_ms: when it fires next; None: it is paused. overdue: what a person should look at. undriven: why nothing fires
    it. waiting: why its run cannot begin. doubt: what could not be checked of a change that was just made.
    """

    schedule: Schedule
    next_ms: int | None
    overdue: str | None
    undriven: str | None
    waiting: str | None
    doubt: str | None = None


class ScheduleService:
    """Every call raises RetryableError where the store does not answer, InvalidInput naming the field, or NotFound."""

    def __init__(
        self, deps: Dependencies, start: Start, score: Score, new_uid: Callable[[], str] = lambda: secrets.token_hex(8)
    ) -> None:
        self._deps = deps
        self._new_uid = new_uid
        self.driver = ScheduleDriver(deps, or_score(start, score))

    async def add(self, name: str, definition: Definition) -> tuple[Listed, bool]:
        """Add a schedule, and whether it is new: the same one again is no error. Raises NotNow for another one."""
        checked, doubt = await self._checked_again(name, definition)

        async def attempt() -> tuple[Listed, bool]:
            there = await self._deps.schedules.get(name)
            if there is not None:
                if there.schedule.definition == checked:
                    return self._listed(there.schedule, await self._undriven(), doubt), False
                raise NotNow(
                    f"there is another schedule {name!r}: change that one (PATCH /schedules/{{name}}), remove it, or "
                    "choose another name"
                )
            if len(await self._deps.schedules.all()) >= MOST_SCHEDULES:
                raise NotNow(f"there are {MOST_SCHEDULES} schedules, which is the most: remove one first")
            now_ms = self._deps.clock.now_ms()
            schedule = Schedule(name=name, uid=self._new_uid(), definition=checked, created_ms=now_ms, fired_ms=now_ms)
            await self._deps.schedules.create(schedule)
            log_request("add", name)
            self.driver.wake()
            return self._listed(schedule, await self._undriven(), doubt), True

        return await until_stored(f"schedule {name}", attempt)

    async def request(self, name: str, definition: Definition) -> StartRequest | BatchRequest:
        """What a run of the schedule, were it added, would ask for that began now, as one request."""
        of, _ = await self._checked_again(name, definition)
        if of.type == SCORE_TYPE:
            raise InvalidInput("type", "what scores load first is not estimated: add the schedule without a plan")
        same: dict[str, Any] = {
            one: getattr(of, one) for one in ("type", "time_range", "since", "default_start", "labels", "source")
        }
        if len(of.symbols) > 1 or is_pattern(of.symbols[0]):
            return BatchRequest(symbols=of.symbols, **same)
        return StartRequest(symbol=of.symbols[0], **same)

    async def _checked_again(self, name: str, definition: Definition) -> tuple[Definition, str | None]:
        """As `_checked`, of a new schedule."""
        found: list[InvalidInput] = []
        if _NAME.fullmatch(name) is None:
            told = "must begin with a letter or digit and hold at most 63 letters, digits, '.', '_' and '-'"
            found.append(InvalidInput("name", f"name {name[:80]!r} {told}"))
        return await self._checked(definition, found)

    async def list(self) -> Sequence[Listed]:
        """All schedules, by name."""
        undriven = await self._undriven()
        return [self._listed(stored.schedule, undriven) for stored in await self._deps.schedules.all()]

    @property
    def unreadable(self) -> dict[str, str]:
        """Why a schedule cannot be read, by name, as of the latest `list`."""
        return self._deps.schedules.unreadable

    async def get(self, name: str) -> Listed:
        """The schedule. Raises NotFound, or ConfigError where it is damaged."""
        return self._listed((await self._stored(name)).schedule, await self._undriven())

    async def runs(self, name: str, *, limit: int) -> Sequence[Run]:
        """Its runs that have ended, newest first."""
        stored = await self._stored(name)
        return await self._deps.schedules.runs(stored.schedule.uid, limit=limit)

    async def change(self, name: str, changes: dict[str, Any], *, paused: bool | None = None) -> Listed:
        """Change fields of the definition, pause or resume it. Fire times of before do not count any more, where it is
        resumed or fires at other times."""

        def checked(schedule: Schedule) -> Schedule:
            of = schedule.definition
            resumed = paused is False and schedule.paused
            other_times = (of.cron, of.timezone) != (definition.cron, definition.timezone)
            changed: Schedule = msgspec.structs.replace(
                schedule,
                definition=definition,
                paused=schedule.paused if paused is None else paused,
                fired_ms=max(schedule.fired_ms, self._deps.clock.now_ms())
                if resumed or other_times
                else schedule.fired_ms,
            )
            return changed

        definition, doubt = (await self._stored(name)).schedule.definition, None
        if changes:
            definition, doubt = await self._checked(
                msgspec.structs.replace(definition, **changes),
                [],
                new=not changes.keys().isdisjoint(("symbols", "source")),
            )
        changed = await self._change(name, checked)
        log_request("change", name)
        return self._listed(changed, await self._undriven(), doubt)

    async def remove(self, name: str) -> None:
        """Forget a schedule and its history; its workflows go on, and what they have loaded stays."""

        async def attempt() -> None:
            try:
                stored = await self._stored(name)
            except ConfigError:
                await self._deps.removals.add(SCHEDULE, name)
                await self._deps.schedules.remove_unreadable(name)
                return
            await self._deps.removals.add(SCHEDULE, name)
            await self._deps.schedules.remove(stored)
            log_request("remove", name)
            self.driver.wake()

        await until_stored(f"schedule {name}", attempt)

    async def run(self, name: str) -> Listed:
        """Start a run now, also of a paused schedule. Raises NotNow while one goes on."""

        def begun(schedule: Schedule) -> Schedule:
            if schedule.current is not None:
                number = schedule.current.number
                raise NotNow(f"run {number} of schedule {name} has not ended: wait for it, or stop its workflows")
            return by_hand(schedule, self._deps.clock.now_ms())

        changed = await self._change(name, begun)
        log_request("run", name)
        return self._listed(changed, await self._undriven())

    async def _change(self, name: str, change: Callable[[Schedule], Schedule]) -> Schedule:
        async def attempt() -> Schedule:
            stored = await self._stored(name)
            return (await self._deps.schedules.replace(stored, change(stored.schedule))).schedule

        changed = await until_stored(f"schedule {name}", attempt)
        self.driver.wake()
        return changed

    async def _stored(self, name: str) -> StoredSchedule:
        stored = await self._deps.schedules.get(name)
        if stored is None:
            names = [one.schedule.name for one in await self._deps.schedules.all()]
            near = closest(name, names)
            meant = f"did you mean {near[0]}?" if near else "GET /schedules lists those that there are"
            removed = await self._deps.removals.said(SCHEDULE, name)
            text = removed or f"there is no schedule {name[:80]!r}: {meant}"
            raise NotFound(text, meant=near[:1], code=ProblemCode.SCHEDULE_UNKNOWN)
        return stored

    async def _undriven(self) -> str | None:
        if (reason := await self._deps.undriven()) is not None:
            return reason
        return (
            None if self.driver.fires else "the manager that answers runs for one command only, and fires no schedule"
        )

    def _listed(self, schedule: Schedule, undriven: str | None, doubt: str | None = None) -> Listed:
        now_ms = self._deps.clock.now_ms()
        next_ms = None
        if not schedule.paused:
            next_ms = schedule.definition.fire_times.next(max(schedule.fired_ms, now_ms))
        waiting = self.driver.waiting.get(schedule.uid)
        return Listed(schedule, next_ms, _overdue(schedule, now_ms, undriven, waiting), undriven, waiting, doubt)

    async def _checked(
        self, asked: Definition, found: MutableSequence[InvalidInput], *, new: bool = True
    ) -> tuple[Definition, str | None]:
        """The definition in its one spelling, and what could not be checked. found: what is wrong beside it. new: its
        symbols are. Raises InvalidInput, which names all fields that are wrong."""
        now_ms = self._deps.clock.now_ms()
        with noted(found):
            fire_times = checked_cron(asked.cron, asked.timezone, now_ms)
        if asked.type == SCORE_TYPE:
            with noted(found):
                labels = check_labels(asked.labels)
            with noted(found):
                asked = await checked_scores(asked, self._deps.models)
            raise_noted(found)
            scores: Definition = msgspec.structs.replace(asked, labels=labels, cron=fire_times.cron)
            return scores, None
        with noted(found):
            symbols = _checked_symbols(asked.symbols)
        with noted(found):
            _, type_name = check_series("X", asked.type)
            if kind_of_type(type_name).is_endless(type_name):
                raise InvalidInput("type", f"type {type_name!r} has no end, and a schedule loads what is past")
        since = asked.since if asked.since or asked.time_range else LAST
        with noted(found):
            words, _ = asked_range(
                StartRequest(
                    symbol="X",
                    type=asked.type,
                    time_range=asked.time_range,
                    since=since,
                    default_start=asked.default_start,
                ),
                now_ms,
            )
        with noted(found):
            labels = check_labels(asked.labels)
        with noted(found):
            if asked.source is SourceChoice.ARCHIVE and self._deps.archive is None:
                raise InvalidInput("source", NO_ARCHIVE)
            if asked.source is SourceChoice.ARCHIVE and archive_loader(check_series("X", asked.type)[1]) is None:
                raise InvalidInput("source", f"nothing loads {asked.type} from an archive: leave the source out")
        raise_noted(found)
        checked: Definition = msgspec.structs.replace(
            asked,
            symbols=symbols,
            type=type_name,
            labels=labels,
            cron=fire_times.cron,
            since=LAST if since == LAST else None,
            time_range="" if since == LAST else words,
        )
        with noted(found):
            doubt = await self._check_listed(checked) if new else None
        with noted(found):
            if since == LAST and asked.default_start is None:
                await self._check_known(checked)
        raise_noted(found)
        return checked, doubt

    async def _check_known(self, asked: Definition) -> None:
        """Refuse `since last` of series that have no end to go on from, which would fail each time."""
        if patterns := [word for word in asked.symbols if is_pattern(word)]:
            raise InvalidInput(
                "from",
                f"{patterns[0]} takes in symbols of which nothing is stored yet, so that `since last` has no end to go "
                "on from: give a start with `from`",
            )
        unknown = [
            symbol
            for symbol in asked.symbols
            if not (await self._deps.coverage.known(series_of(symbol, asked.type))).segments
        ]
        if unknown:
            raise InvalidInput(
                "since",
                f"nothing of {_names(unknown)} {asked.type} is stored yet, so that `since last` has no end to go on "
                "from: load a range first, or give a start with `from`",
            )

    async def _check_listed(self, asked: Definition) -> str | None:
        """Refuse symbols that neither exchange nor archive has, and patterns that fit none; or why it is not known."""
        symbols, where = asked.symbols, self._deps.exchange_name
        unchecked = f"whether {where} has {shortened(symbols)} is not known"
        if not self._deps.asks:
            return f"{unchecked}: this manager does not ask it"
        try:
            chooser = Chooser(self._deps, self._deps.exchange.symbols)
            listed, silence = await chooser.listed(asked.type, asked.source, _LIST_WITHIN_S)
        except (StreamForgeError, TimeoutError) as error:
            why = str(error) or f"it did not list its symbols within {_LIST_WITHIN_S:g} s"
            return f"{unchecked}: {why}; a symbol that it does not have fails in each run"
        try:
            fits = len(select(symbols, listed, where).symbols)
        except InvalidInput:
            if silence:
                return f"{unchecked}: {silence}"
            raise
        if fits > MOST_SYMBOLS:
            raise InvalidInput("symbols", f"these are {fits} symbols now: a schedule has {MOST_SYMBOLS} at most")
        return None


def _checked_symbols(words: Sequence[str]) -> tuple[str, ...]:
    """Symbols and patterns in their one spelling. Raises InvalidInput."""
    check_words(words)
    if len(words) > MOST_SYMBOLS:
        raise InvalidInput("symbols", f"{len(words)} symbols are too many: a schedule has {MOST_SYMBOLS} at most")
    symbols = tuple(word if is_pattern(word) else check_symbol(word) for word in words)
    if twice := sorted({symbol for symbol in symbols if symbols.count(symbol) > 1}):
        raise InvalidInput("symbols", f"symbols: {', '.join(twice[:_NAMED])} is named twice: name each once")
    return symbols


def _names(symbols: Sequence[str]) -> str:
    more = f" and {len(symbols) - _NAMED} more" if len(symbols) > _NAMED else ""
    return ", ".join(symbols[:_NAMED]) + more


def _overdue(schedule: Schedule, now_ms: int, undriven: str | None, waiting: str | None) -> str | None:
    """What a person should look at; None: nothing."""
    run, late_ms = schedule.current, overdue_ms(schedule, now_ms)
    if late_ms > OVERDUE_MS:
        due = format_ms((now_ms - late_ms) // 1000 * 1000)
        if run is not None and run.state is RunState.STARTING:
            why = f"its run {run.number} cannot begin{f': {waiting}' if waiting else ''}"
        elif run is not None:
            why = f"its run {run.number} is still going on"
        else:
            why = undriven or "no run has begun"
        return f"it should have fired at {due}, and {why}"
    if schedule.failures >= MOST_FAILURES and schedule.latest is not None:
        return f"its last {schedule.failures} runs failed, the latest with: {schedule.latest.reason}"
    return None
