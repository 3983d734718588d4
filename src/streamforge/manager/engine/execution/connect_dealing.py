"""Which loaders may connect to the exchange's streams; assignments survive restarts of the manager."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import structlog

from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.execution.basket_gathering import Launches
from streamforge.manager.engine.execution.exchange_limits import Connects, Process
from streamforge.manager.engine.execution.overview import Overview
from streamforge.manager.engine.lifecycle.handovers import leaves
from streamforge.manager.engine.persistence.dealt_connects import DealtConnects
from streamforge.manager.engine.services import Services
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.messages import DECODE_ERRORS
from streamforge_utils.ports.launcher import Job

_PROCESS, _LAUNCH = "process ", "launch "
_encode = msgspec.json.Encoder().encode
_decode_process = msgspec.json.Decoder(Process).decode
_decode_launch = msgspec.json.Decoder(tuple[int, str]).decode
_log = structlog.get_logger(__name__)


class ConnectDealing:
    """An assignment is stored before it is sent, so that the next manager does not assign it a second time."""

    def __init__(self, deps: Services, overview: Overview) -> None:
        self._connects = Connects(deps.policy.connects)
        self._launches = Launches(deps.policy.basket_size)
        self._overview = overview
        self._kept = DealtConnects(deps.store)

    async def load(self) -> None:
        """Continue with the assignments of an earlier manager; once, before anything else. Raises RetryableError."""
        entries = await self._kept.load()
        try:
            processes = {name: _decode_process(one) for name, one in _of(_PROCESS, entries)}
            launched = {name: _decode_launch(one) for name, one in _of(_LAUNCH, entries)}
        except DECODE_ERRORS as error:
            _log.error("the record of assigned connections cannot be read: its document is damaged", error=str(error))
            return
        self._connects.restore(processes)
        self._launches.restore(launched)

    def may_launch(self, workflow: Workflow | None, jobs: Mapping[str, Job], now_ms: int) -> bool:
        """Whether one more loader of a stream may be launched, which connects at once. now_ms: the same for a look."""
        return self._connects.may_launch(self._launched(jobs, now_ms), leaving=leaves(workflow))

    async def deal(
        self, running: Sequence[str], jobs: Mapping[str, Job], processes: Mapping[str, str], now_ms: int
    ) -> dict[str, int]:
        """As `Connects.deal`; nothing while the store takes nothing. Raises ConflictError: another manager deals."""
        dealt = self._connects.deal(running, now_ms, processes)
        self._launched(jobs, now_ms)
        entries = {_PROCESS + name: _encode(one) for name, one in self._connects.processes.items()}
        entries |= {_LAUNCH + name: _encode(one) for name, one in self._launches.planned.items()}
        try:
            await self._kept.store(entries)
        except RetryableError as error:
            _log.warning("no connections are assigned, because the store does not accept the record", error=str(error))
            return {}
        return dealt

    def sent(self, job: str, share: int, now_ms: int) -> None:
        """As `Connects.sent`."""
        self._connects.sent(job, share, now_ms)

    def _launched(self, jobs: Mapping[str, Job], now_ms: int) -> int:
        return self._launches.beside_one_more(self._overview.take_connecting(), jobs, now_ms)


def _of(kind: str, entries: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    return ((name.removeprefix(kind), one) for name, one in entries.items() if name.startswith(kind))
