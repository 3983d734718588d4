"""How a ledger goes on whose loader was replaced by one that had listened beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from streamforge_utils.model.books.ending import Message, ending
from streamforge_utils.model.books.records import DepthInterval, interval_of, kind_name_of
from streamforge_utils.model.books.trust import BookInterval
from streamforge_utils.model.messages import DECODE_ERRORS

_read_interval = msgspec.json.Decoder(DepthInterval).decode


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What the last messages of a topic tell. last_id: of the diffs; 0: there is none.

    told: the entry of the ledger that reaches furthest. version: the greatest of its entries.
    """

    last_id: int = 0
    told: BookInterval | None = None
    version: int = 0

    @property
    def told_id(self) -> int:
        """The last id of which the ledger says something."""
        return 0 if self.told is None else self.told.last_id


class Succession(msgspec.Struct, frozen=True, kw_only=True):
    """entries: what is to be written of the ledger before, and nothing more of it.

    after_id, end_ms: where that ends, as the next one goes on without a break behind it; 0: there is a break.
    """

    entries: list[BookInterval]
    after_id: int = 0
    end_ms: int = 0


def written(messages: Iterable[Message]) -> Written:
    """What the last messages of a topic tell; what is no record of an order book says nothing."""
    last_id, told, version = 0, None, 0
    for one in messages:
        key = one.key or b""
        try:
            match kind_name_of(key):
                case "depth":
                    last_id = max(last_id, id_of(key))
                case "depth_interval":
                    record = _read_interval(one.value)
                    version = max(version, record.version)
                    if told is None or record.last_update_id >= told.last_id:
                        told = interval_of(record)
        except (*DECODE_ERRORS, ValueError):
            continue
    return Written(last_id=last_id, told=told, version=version)


def succession(messages: Sequence[Message], own: Sequence[BookInterval]) -> Succession:
    """How the ledger on a topic goes on with the entries of one who has listened beside its author."""
    found = written(messages)
    if found.told is not None and _reaches(own, found.told_id + 1):
        return Succession(entries=[], after_id=found.told_id, end_ms=found.told.end_ms)
    entries = ending(messages)
    if entries and _reaches(own, found.last_id + 1):
        last = msgspec.structs.replace(entries[-1], cause="")
        return Succession(entries=[*entries[:-1], last], after_id=last.last_id, end_ms=last.end_ms)
    return Succession(entries=entries)


def id_of(key: bytes) -> int:
    """The last id of the diff whose record has the key. Raises ValueError."""
    return int(key.rpartition(b"_")[2])


def _reaches(own: Iterable[BookInterval], first_id: int) -> bool:
    """Whether they go on from an id without a break."""
    return any(one.first_id <= first_id <= one.last_id + 1 for one in own)
