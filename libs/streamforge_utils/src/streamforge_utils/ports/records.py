"""Records of a series in a store that has documents alone: found by their keys, read from their bodies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, get_type_hints

import msgspec

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.messages import DECODE_ERRORS
from streamforge_utils.model.series import Series
from streamforge_utils.ports.store import DocumentStore


async def positions_of_keys(
    store: DocumentStore, collection: str, series: Series, within: range, limit: int
) -> Sequence[int]:
    """See `RecordStore.positions`."""
    kind, found = kind_of(series), list[int]()
    first, last = kind.key_range(series, within)
    while first < last and (left := limit - len(found)) > 0:
        keys = await store.keys(collection, first=first, last=last, limit=left)
        found += kind.positions(series, keys)
        if len(keys) < left:
            break
        first = keys[-1] + "\x00"
    return found


async def values_of_documents(
    store: DocumentStore, collection: str, series: Series, within: range, names: Sequence[str], limit: int
) -> Sequence[tuple[Any, ...]]:
    """See `RecordStore.values`."""
    kind, found = kind_of(series), list[tuple[Any, ...]]()
    first, last = kind.key_range(series, within)
    decode = _decoder(kind, frozenset(names))
    fields: Callable[[Any], Any] = attrgetter(*names)  # of several names it gives a tuple
    if len(names) == 1:
        fields = msgspec.structs.astuple
    while first < last and (left := limit - len(found)) > 0:
        documents = await store.read(collection, first=first, last=last, limit=left)
        for one in documents:
            try:
                found.append(fields(decode(one.body)))
            except DECODE_ERRORS as error:
                raise PermanentError(
                    f"document {one.key} in {collection} is no record of {kind.name} ({error}): remove it, and load "
                    "what it stands for"
                ) from error
        if len(documents) < left:
            break
        first = documents[-1].key + "\x00"
    return found


@lru_cache(maxsize=64)
def _decoder(kind: RecordKind, names: frozenset[str]) -> Callable[[bytes], Any]:
    """Reads of a stored document the fields of these names alone, as what they are: amounts are not judged."""
    types = get_type_hints(kind.stored)
    fields = msgspec.defstruct(f"{kind.name}_values", [(name, types[name]) for name in sorted(names)], gc=False)
    return msgspec.json.Decoder(fields).decode
