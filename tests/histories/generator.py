"""Random histories, and the way from one that fails to a short one that fails alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import TypeVar

import msgspec

from tests.histories.history import (
    SYMBOLS,
    AcceptRecords,
    AdvanceClock,
    AnyOperation,
    ExchangeFault,
    History,
    KillManager,
    KillWorker,
    Load,
    LoseRecords,
    Market,
    Observe,
    Outage,
    Quiesce,
    Read,
    RefuseRecord,
    Remove,
    RepeatEvent,
    Replay,
    Retry,
    ScheduledVerification,
    Setting,
    Stop,
    Verify,
    Wait,
)

T = TypeVar("T", bound=msgspec.Struct)

_replace = msgspec.structs.replace


class _Draw:
    """Draws operations. ranges: those that were loaded so far, as (market, first, last)."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.setting = _setting(random)
        self.ranges: list[tuple[int, int, int]] = []

    def market(self) -> int:
        return self.random.randrange(len(self.setting.markets))

    def range(self) -> tuple[int, int]:
        first = self.random.randint(0, 25)
        return first, self.random.randint(first + 1, min(first + 25, self.setting.markets[0].bars))

    def which(self) -> int:
        return self.random.choice([0, 0, 0, 1, 1, 2, 3])

    def load(self) -> Load:
        random = self.random
        if self.ranges and random.random() < 0.4:
            market, first, last = random.choice(self.ranges)
            last = min(last + random.choice([0, 0, 5]), self.setting.markets[market].bars)
        else:
            market, (first, last) = self.market(), self.range()
        self.ranges.append((market, first, last))
        return Load(
            market=market,
            first=first,
            last=last,
            again=random.random() < 0.2,
            half=random.random() < 0.1,
            shared=random.random() < 0.15,
        )

    def lose(self) -> LoseRecords:
        first, last = self.range()
        return LoseRecords(market=self.market(), first=first, last=self.random.choice([last, first + 1]))

    def read(self) -> Read:
        first, last = self.range()
        return Read(market=self.market(), first=first, last=last)

    def verify(self) -> Verify:
        first, last = self.range() if self.random.random() < 0.4 else (None, None)
        return Verify(market=self.market(), first=first, last=last)

    def exchange_fault(self) -> ExchangeFault:
        kinds = ["short", "short", "empty", "refused", "banned", "slow", "slow"]
        after = self.random.choice([0, 0, 1, 2, 3, 4, 6, 9])
        return ExchangeFault(kind=self.random.choice(kinds), after=after)

    def kill_manager(self) -> KillManager:
        random = self.random
        down = random.choice([0.1, 2.0, 30.0, 400.0])
        return KillManager(deeds=random.randint(1, 30), after=random.random() < 0.5, down=down)

    # Combinations that rarely come by chance.

    def moment(self) -> Wait:
        return Wait(seconds=self.random.choice([0.1, 0.3, 0.6, 1, 2, 3, 5]))

    def stopped_load(self) -> Operations:
        return self.load(), self.moment(), Stop(which=0)

    def removal_under_a_load(self) -> Operations:
        return self.load(), Quiesce(), self.load(), self.moment(), Remove(which=1, data=True)

    def removal_of_what_a_load_relies_on(self) -> Operations:
        *begun, moment = self._reliance()
        ends = (Quiesce(),) if moment.seconds >= 3 else ()  # then only what the longer one has alone stays
        return *begun, moment, *ends, Remove(which=1, data=True)

    def old_data_that_a_load_relies_on(self) -> Operations:
        return *self._reliance(), AdvanceClock(count=1000)

    def _reliance(self) -> tuple[*tuple[AnyOperation, ...], Wait]:
        """A load, and a longer one that goes on for a while."""
        load = _replace(self.load(), again=False)
        grown = _replace(load, last=min(load.last + 6, self.setting.markets[0].bars))
        slow = ExchangeFault(kind="slow", after=self.random.choice([0, 1, 2, 3, 4, 5, 6]))
        return load, Quiesce(), slow, grown, self.moment()

    def late_plan(self) -> Operations:
        slow = ExchangeFault(kind="slow"), ExchangeFault(kind="slow", after=1)
        loads = self.load(), self.load()
        return *slow, *loads, self.moment(), Stop(which=1), self.moment(), Retry(which=1)

    def grown_range(self) -> Operations:
        load = self.load()
        return load, Quiesce(), AdvanceClock(count=self.random.choice([3, 8])), _replace(load, again=False)

    def decay(self) -> Operations:
        """Rows of what was loaded vanish; then they are counted, or read, or loaded again, or nobody looks."""
        load = self.load()
        first = self.random.randint(load.first, load.last - 1)
        last = self.random.choice([first + 1, self.random.randint(first + 1, load.last)])
        lost = LoseRecords(market=load.market, first=first, last=last)
        what = Verify(market=load.market), ScheduledVerification(), _replace(load, again=False), Observe()
        return load, Quiesce(), lost, self.random.choice(what)

    def verification_under_a_load(self) -> Operations:
        return self.load(), self.moment(), self.lose(), self.verify()

    def loss_before_a_retry(self) -> Operations:
        load = self.load()
        lost = LoseRecords(market=load.market, first=load.first, last=self.random.randint(load.first + 1, load.last))
        return load, self.moment(), Stop(which=0), Quiesce(), lost, Retry(which=0)


Operations = tuple[AnyOperation, ...]

_WEIGHTS: tuple[tuple[int, Callable[[_Draw], AnyOperation | Operations]], ...] = (
    (4, _Draw.stopped_load),
    (2, _Draw.removal_under_a_load),
    (2, _Draw.removal_of_what_a_load_relies_on),
    (2, _Draw.old_data_that_a_load_relies_on),
    (2, _Draw.late_plan),
    (2, _Draw.grown_range),
    (2, _Draw.loss_before_a_retry),
    (5, _Draw.decay),
    (1, _Draw.verification_under_a_load),
    (16, _Draw.load),
    (10, lambda draw: Wait(seconds=draw.random.choice([0.1, 0.5, 1, 3, 10, 60]))),
    (8, lambda draw: Quiesce()),
    (4, lambda draw: AdvanceClock(count=draw.random.choice([1, 5, 5, 12, 1000]))),
    (9, lambda draw: Stop(which=draw.which())),
    (9, lambda draw: Retry(which=draw.which())),
    (3, lambda draw: Replay(which=draw.which())),
    (9, lambda draw: Remove(which=draw.which(), data=draw.random.random() < 0.7)),
    (5, _Draw.lose),
    (3, _Draw.read),
    (3, lambda draw: Observe()),
    (3, _Draw.verify),
    (1, lambda draw: ScheduledVerification()),
    (2, lambda draw: RefuseRecord(market=draw.market(), bar=draw.random.randint(0, 39))),
    (2, lambda draw: AcceptRecords()),
    (7, _Draw.exchange_fault),
    (4, _Draw.kill_manager),
    (6, lambda draw: KillWorker(which=draw.random.randint(0, 3), deeds=draw.random.choice([0, 0, 1, 2, 3]))),
    (2, lambda draw: RepeatEvent(back=draw.random.randint(0, 12))),
)


def history_of(seed: int, case: int) -> History:
    """The history of that number; always the same one."""
    draw = _Draw(Random(f"{seed}/{case}"))
    weights, makers = zip(*_WEIGHTS, strict=True)
    makes = draw.random.choices(makers, weights, k=draw.random.randint(2, 8))
    operations: list[AnyOperation] = [draw.load()]
    for make in makes:
        drawn = make(draw)
        operations += drawn if isinstance(drawn, tuple) else [drawn]
    history = History(setting=draw.setting, operations=tuple(operations))
    if case % 5 == 2:
        history = _with_outages(history, Random(f"{seed}/{case}/outages"))
    return _until_now(history, Random(f"{seed}/{case}/now")) if case % 4 == 3 else history


def _with_outages(history: History, random: Random) -> History:
    """The history, with a bus or a store that does not answer for a while, once or twice."""
    operations = list(history.operations)
    for _ in range(random.choice([1, 1, 2])):
        seconds = random.choice([0.3, 2.0, 10.0, 60.0])
        outage = Outage(part=random.choice(["bus", "store"]), seconds=seconds, late=random.random() < 0.5)
        operations.insert(random.randint(1, len(operations)), outage)
    return _replace(history, operations=tuple(operations))


def _until_now(history: History, random: Random) -> History:
    """The history with other intervals and with ranges that end at now, which are asked for again a little later."""
    interval = random.choice(["1s", "1m", "1m", "5m", "1h", "3d"])
    markets = tuple(_replace(market, interval=interval) for market in history.setting.markets)
    operations: list[AnyOperation] = []
    for one in history.operations:
        if not isinstance(one, Load) or random.random() < 0.3:
            operations.append(one)
            continue
        load = _replace(one, until_now=random.choice(["open", "ago"]))
        operations.append(load)
        if random.random() < 0.5:
            passes = Wait(seconds=random.choice([0.5, 1, 20, 60])), AdvanceClock(count=1)
            operations += [random.choice(passes), load]
    return History(setting=_replace(history.setting, markets=markets), operations=tuple(operations))


def shorter(history: History) -> Iterator[History]:
    """Simpler histories than this one, the simplest first: with fewer operations, or with a field at its default."""
    setting, operations = history.setting, history.operations
    size = len(operations) // 2
    while size:
        for start in range(0, len(operations) - size + 1, size):
            yield _replace(history, operations=operations[:start] + operations[start + size :])
        size //= 2
    if len(setting.markets) > 1:
        yield _replace(history, setting=_replace(setting, markets=setting.markets[:1]))
    for number, market in enumerate(setting.markets):
        for simpler in _simpler(market):
            markets = (*setting.markets[:number], simpler, *setting.markets[number + 1 :])
            yield _replace(history, setting=_replace(setting, markets=markets))
    for simpler_setting in _simpler(setting):
        yield _replace(history, setting=simpler_setting)
    for number, operation in enumerate(operations):
        for simpler_operation in _simpler(operation):
            yield _replace(history, operations=(*operations[:number], simpler_operation, *operations[number + 1 :]))


def shrunk(history: History, fails: Callable[[History], bool], most: int = 300) -> History:
    """A history that fails as this one does, and that nothing simpler does. most: how many are tried."""
    tried = 0
    while True:
        for simpler in shorter(history):
            tried += 1
            if tried > most:
                return history
            if fails(simpler):
                history = simpler
                break
        else:
            return history


def _simpler(value: T) -> Iterator[T]:
    for field in msgspec.structs.fields(value):
        if field.default is not msgspec.NODEFAULT and getattr(value, field.name) != field.default:
            yield _replace(value, **{field.name: field.default})


def _setting(random: Random) -> Setting:
    interval = random.choice(["1h", "1h", "1d", "3d"])
    markets = tuple(_market(random, symbol, interval) for symbol in SYMBOLS[: random.choice([1, 1, 1, 2])])
    return Setting(
        markets=markets,
        now=random.randint(8, markets[0].bars),
        max_running=random.choice([1, 2, 8]),
        kept_days=random.choice([0, 0, 0, 30]),
        slow_s=random.choice([0, 0.1, 0.1, 1.0]),
        verify_s=(verify_s := random.choice([0, 0, 0, 10.0])),
        repairs=bool(verify_s) and random.random() < 0.6,
        turn=random.randrange(180),
    )


def _market(random: Random, symbol: str, interval: str) -> Market:
    market = Market(symbol=symbol, interval=interval)
    listed = random.choice([0, 0, random.randint(1, 12)])
    delisted = random.choice([None, None, random.randint(20, market.bars)])
    last = market.bars if delisted is None else delisted
    holes = random.sample(range(listed + 1, last - 1), random.choice([0, 0, 1, 3]))
    return _replace(market, listed=listed, delisted=delisted, holes=tuple(sorted(holes)))
