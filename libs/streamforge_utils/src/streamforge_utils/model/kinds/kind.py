"""What the platform knows of one sort of record; `registry` finds the kinds there are.

Prices and quantities travel as the exchange's decimal text. They become numbers here, when a message is decoded with
`strict=False`.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise, starmap
from operator import itemgetter
from typing import Annotated, Any, ClassVar
from urllib.parse import quote

import msgspec

from streamforge_utils.model.completeness.rule import Rule
from streamforge_utils.model.errors import InvalidInput, PermanentError
from streamforge_utils.model.kinds.archive_files import ArchiveFiles
from streamforge_utils.model.kinds.intervals import Intervals
from streamforge_utils.model.kinds.paging import Paging
from streamforge_utils.model.kinds.snapshots import Snapshots
from streamforge_utils.model.kinds.streaming import Streaming
from streamforge_utils.model.messages import DECODE_ERRORS
from streamforge_utils.model.series import Series
from streamforge_utils.model.spelling import closest

KEY_SAFE = "-.@()+,=;$!*'"
"""What a store's key may hold besides letters, digits and `_`; anything else is percent-encoded."""

Number = Annotated[float, msgspec.Meta(ge=0, le=sys.float_info.max)]
"""A price or a quantity in a store: not negative, and finite. In a message it is the exchange's decimal text."""


DecimalText = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,20}(\.[0-9]{1,20})?$")]
"""A price or a quantity as the exchange writes it."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that every record has.

    key: the record's identity; also the message's key. version: when the exchange was observed, unix milliseconds; a
    later observation of the same record wins.
    """

    key: str = msgspec.field(name="_key")
    version: int = msgspec.field(name="_version", default=0)


class Amounts(msgspec.Struct, frozen=True, gc=False):
    """What a record adds to a bar that is made of such records. time: when it happened, or began; unix milliseconds."""

    time: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote: Decimal
    trades: int
    taker_base: Decimal
    taker_quote: Decimal


_decode_identity = msgspec.json.Decoder(Record, strict=False).decode


class RecordKind(ABC):
    """A sort of record: its types, its keys, its conversion to documents, and how it is known to be complete.

    name: one word, as `Series.kind` has it. record: a message, with `_key` and `_version`. stored: the document and the
    exported row, without them; its fields are those of `record`, prices and quantities as numbers.
    position: the field with a record's place in its series (a time in unix milliseconds, or an id).
    time: the field with the time at which it happened, unix milliseconds. times: all fields that are instants.
    digits: of a position in a key, so that keys sort by it. indexes: each the fields that a store with queries of its
    users' (ArangoDB) indexes together; the embedded one reads by keys alone.
    paging: how the exchange's REST interface gives the records; None: it does not. archive: how its archive does.
    streaming: how its streams do. snapshots: how the REST interface gives what the records have led to. intervals: how
    its loader tells what it received without a break, where keys alone do not; None: they do. segments: the folder, in
    the store of objects, of the segments in which its records lie; empty: all lie in collections. is_ledger: its
    records tell of others, and may go on for weeks.
    chained: whether a record tells too which one follows it (`break_between`).
    bar_fields: the stored fields of a bar's open, high, low and close price and of its volume; None: no bars are made
    of such records. quote_volume: of a record that is a bar itself, the stored field of its volume in quote units.
    noun: a record in a sentence. schema: the name of the message's JSON Schema; empty: `name`. notes: JSON Schema
    keywords by field of `record`. example: a `record`, shown beside the schema and imitated by dummy-service; None:
    neither.
    """

    name: ClassVar[str]
    record: ClassVar[type[msgspec.Struct]]
    stored: ClassVar[type[msgspec.Struct]]
    position: ClassVar[str]
    time: ClassVar[str]
    times: ClassVar[tuple[str, ...]]
    digits: ClassVar[int] = 12
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = ()
    paging: ClassVar[Paging | None] = None
    archive: ClassVar[ArchiveFiles | None] = None
    streaming: ClassVar[Streaming | None] = None
    snapshots: ClassVar[Snapshots | None] = None
    intervals: ClassVar[Intervals | None] = None
    segments: ClassVar[str] = ""
    is_ledger: ClassVar[bool] = False
    chained: ClassVar[bool] = False
    bar_fields: ClassVar[tuple[str, str, str, str, str] | None] = None
    quote_volume: ClassVar[str] = ""
    schema: ClassVar[str] = ""
    noun: ClassVar[str] = "record"
    notes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    example: ClassVar[Any] = None

    # Types

    @property
    def types(self) -> Sequence[str]:
        """Every type of the kind, for messages and choices; those of history first."""
        return (f"api_{self.name}", *(() if self.streaming is None else (f"ws_{self.name}",)))

    def interval_of(self, type_name: str) -> str | None:
        """The interval of a type, in its one spelling (empty for kinds without); None: it is no type of this kind."""
        return "" if self.normal_type(type_name) in self.types else None

    def normal_interval(self, text: str) -> str | None:
        """The one spelling of an interval; None: there is no such. Kinds without intervals have the empty one."""
        return None if text else ""

    def type_of(self, interval: str = "") -> str:
        """The type that loads the history of a series with this interval."""
        return self.types[0]

    def normal_type(self, type_name: str) -> str:
        """The one spelling of a type of this kind; `ws_trade` is one of `ws_trades`."""
        return f"{type_name}s" if type_name.startswith("ws_") and f"{type_name}s" in self.types else type_name

    def meant(self, type_name: str) -> str | None:
        """The type that was probably meant by `type_name`, which is none."""
        live = type_name.startswith("ws_")
        return next(iter(closest(type_name, [one for one in self.types if one.startswith("ws_") == live])), None)

    def is_endless(self, type_name: str) -> bool:
        """Whether the type is live: it goes on until it is stopped."""
        return type_name.startswith("ws_")

    # Keys

    def prefix(self, series: Series) -> str:
        """The beginning that all keys of a series share: everything before the position."""
        return f"{key_symbol(series.symbol)}_"

    def key(self, series: Series, position: int) -> str:
        """The key of the record at `position`. Keys sort as positions do."""
        return f"{self.prefix(series)}{position:0{self.digits}}"

    def position_of(self, key: str) -> int | None:
        """The position that a key of this kind names; None: it is no key of this kind."""
        digits = key.rpartition("_")[2]
        return int(digits) if len(digits) == self.digits and digits.isascii() and digits.isdigit() else None

    def positions(self, series: Series, keys: Sequence[str]) -> list[int]:
        """The positions that keys name, as a store lists them between two keys of the series; others are left out."""
        prefix, digits = self.prefix(series), self.digits
        start = len(prefix)
        if set(map(len, keys)) == {start + digits}:  # a proof has millions: without a step of Python for each
            texts = list(map(itemgetter(slice(start, None)), keys))
            together = "".join(texts)
            if together.isascii() and together.isdigit():
                return list(map(int, texts))
        found = (key[start:] for key in keys if key.startswith(prefix) and len(key) == start + digits)
        return [int(text) for text in found if text.isascii() and text.isdigit()]

    def key_range(self, series: Series, positions: range) -> tuple[str, str]:
        """The first key of a range of positions, and the first one behind it."""
        first = max(positions.start, self.first_position)
        return self.key(series, first), self.key(series, max(positions.stop, first))

    @property
    def first_position(self) -> int:
        """The least position that a key may have."""
        return 0

    # Records

    @property
    def columns(self) -> tuple[str, ...]:
        """The exported fields, in order."""
        return self.stored.__struct_fields__

    def document(self, key: bytes | None, value: bytes) -> tuple[str, int, bytes]:
        """Turn a message into what the store keeps: key, version, and the JSON of a `stored`.

        key: the message's key, compared with the record's own where present.
        Raises PermanentError with the reason why it can never be stored.
        """
        decode, encode = _codecs(self.stored)
        try:
            identity, body = _decode_identity(value), decode.stored(value)
        except DECODE_ERRORS as error:
            raise PermanentError(f"not a record of {self.name}: {error}") from error
        reason = self.refusal(body)
        expected = "" if reason else self.key(self.series_of(body), getattr(body, self.position))
        if reason is None and identity.key != expected:
            reason = f"its identity says {expected}"
        if reason is None and key is not None and key != expected.encode():
            reason = f"the message's key is {key[:80]!r}"
        if reason is not None:
            raise PermanentError(f"{self.name} record {identity.key[:80]}: {reason}")
        return expected, identity.version, bytes(encode(body))

    def refusal(self, record: Any) -> str | None:
        """Why a record that was decoded (a `stored`) can still never be stored; None if it can."""
        return None

    def records(self, keys: Sequence[bytes | None], values: Sequence[bytes]) -> list[Any] | None:
        """Many messages as records: the fields of `stored`, with a `key` and a `version`.

        None if one may have to be refused, or if the kind is a plugin's that makes its documents by itself: the caller
        then converts one by one.
        """
        alone = self.stored.__struct_defaults__ or self.stored.__struct_config__.array_like
        if alone or type(self).document is not RecordKind.document:
            return None  # of a plugin: defaults would be left out, and what it does itself is not known here
        decode, _ = _at_once(self.stored)
        try:
            records = [decode(value) for value in values]
            given = b"\n".join(keys)  # type: ignore[arg-type]  # without a key it is a TypeError
            expected = self.keys_of(records) if records else None
        except (*DECODE_ERRORS, TypeError, PermanentError):
            return None
        if expected is None or [r.key for r in records] != expected or given != "\n".join(expected).encode():
            return None
        return records

    def bodies(self, records: Sequence[Any]) -> list[bytes]:
        """The stored documents of what `records` gave: JSON objects, as `document` makes them."""
        encode = _at_once(self.stored)[1]
        identities = [(record.key, record.version) for record in records]
        for record in records:
            record.key, record.version = "", 0  # left out: these are their defaults
        try:
            return [*map(encode, records)]
        finally:
            for record, (key, version) in zip(records, identities, strict=True):
                record.key, record.version = key, version

    def record_in(self, key: str, version: int, body: bytes) -> Any | None:
        """The record that a stored document holds, as `records` gives them; None: it is none of this kind."""
        if not self.holds(body):
            return None
        record = _at_once(self.stored)[0](body)
        record.key, record.version = key, version
        return record

    def keys_of(self, records: Sequence[Any]) -> list[str] | None:
        """The keys of one or more decoded records; None if one may have to be refused.

        A kind may override it to be faster with those of one series.
        """
        if any(map(self.refusal, records)):
            return None
        return [self.key(self.series_of(one), getattr(one, self.position)) for one in records]

    def series_of(self, record: Any) -> Series:
        """The series that a stored or travelling record belongs to."""
        return Series(record.symbol, self.name)

    def series_of_document(self, body: bytes) -> Series:
        """The series that a stored document belongs to. Raises PermanentError."""
        return self.series_of(self._read(body))

    def time_of(self, body: bytes) -> int:
        """When the record of a stored document happened, unix milliseconds. Raises PermanentError."""
        return int(getattr(self._read(body), self.time))

    def _read(self, body: bytes) -> Any:
        try:
            return _codecs(self.stored)[0].stored(body)
        except DECODE_ERRORS as error:
            raise PermanentError(f"a stored document is no record of {self.name}: {error}") from error

    def holds(self, body: bytes) -> bool:
        """Whether a stored document has exactly the fields of this kind's records."""
        try:
            _codecs(self.stored)[0].exactly(body)
        except DECODE_ERRORS:
            return False
        return True

    def as_exported(self, body: bytes) -> bytes:
        """A stored document as the export writes it: the fields in their order, numbers as such.

        A store may give 42000.0 back as 42000, and the fields in another order. What is no record is returned as it is.
        """
        decode, encode = _codecs(self.stored)
        try:
            return bytes(encode(decode.exactly(body)))
        except DECODE_ERRORS:
            return body

    def lines(self, rows: Sequence[Sequence[Any]]) -> bytes:
        """Records as the export writes them: JSON lines. rows: of each the values of `columns`."""
        return bytes(_encoder.encode_lines(list(starmap(_by_position(self.stored), rows))))

    def break_between(self, before: bytes, after: bytes) -> str:
        """Why two records with consecutive positions, as they travel or are stored, do not follow each other.

        Empty: they do, or their positions are not consecutive.
        """
        return ""

    def break_in(self, records: Sequence[bytes]) -> tuple[int, str] | None:
        """The place of the first record that does not follow the one before it, and why; as `break_between` tells."""
        for place, (before, after) in enumerate(pairwise(records), 1):
            if reason := self.break_between(before, after):
                return place, reason
        return None

    def amounts(self, lines: bytes) -> list[Amounts] | None:
        """What exported records, as JSON lines, add to candles that are made of them; None: none can be made.

        Raises PermanentError for what is no record of this kind.
        """
        return None

    def imitation(self, series: Series, position: int) -> Any:
        """`example` as the record of a series at a position; without a version, so that an observed record replaces it.

        Raises InvalidInput for a kind without an example.
        """
        if self.example is None:
            raise InvalidInput("type", f"{self.name} has no example of a record: it cannot be imitated")
        place = {self.position: position, "symbol": series.symbol}
        return msgspec.structs.replace(self.example, key=self.key(series, position), version=0, **place)

    # Completeness

    @abstractmethod
    def rule(self, series: Series) -> Rule:
        """The completeness rule of a series."""


class _Decoders(msgspec.Struct, frozen=True):
    stored: Any
    exactly: Any


@lru_cache(maxsize=64)
def _codecs(stored: type[msgspec.Struct]) -> tuple[_Decoders, Any]:
    exactly = type("_Exactly", (stored,), {}, frozen=True, kw_only=True, forbid_unknown_fields=True)
    return _Decoders(
        stored=msgspec.json.Decoder(stored, strict=False).decode,
        exactly=msgspec.json.Decoder(exactly).decode,
    ), msgspec.json.Encoder().encode


_encoder = msgspec.json.Encoder()


@lru_cache(maxsize=64)
def _by_position(stored: type[msgspec.Struct]) -> Any:
    """Makes what is written as a `stored` is from the values of its fields, which are not looked at."""
    return msgspec.defstruct(stored.__name__, [(name, Any) for name in stored.__struct_fields__], gc=False)


@lru_cache(maxsize=64)
def _at_once(stored: type[msgspec.Struct]) -> tuple[Any, Any]:
    """Reads a record, text as numbers; without key and version it is written as a `stored` is."""
    identity = [
        ("key", str, msgspec.field(name="_key", default="")),
        ("version", int, msgspec.field(name="_version", default=0)),
    ]
    incoming = msgspec.defstruct(
        stored.__name__, identity, bases=(stored,), frozen=False, kw_only=True, omit_defaults=True
    )
    return msgspec.json.Decoder(incoming, strict=False).decode, msgspec.json.Encoder().encode


def keys_of_series(prefix: str, positions: list[int], digits: int) -> list[str]:
    """The keys of one or more records of a series: what `RecordKind.key` gives for each, in a quarter of the time."""
    first, last = str(min(positions)), str(max(positions))
    if len(first) != len(last) or first.startswith("-"):
        return [f"{prefix}{position:0{digits}}" for position in positions]
    prefix += "0" * (digits - len(last))
    return (prefix + msgspec.json.encode(positions)[1:-1].decode().replace(",", f"\n{prefix}")).split("\n")


def key_symbol(symbol: str) -> str:
    """`symbol` as it may stand in a key."""
    return symbol if symbol.isalnum() and symbol.isascii() else quote(symbol, safe=KEY_SAFE)
