"""The JSON that the API answers about what a load would take, before anything is started."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import msgspec

from streamforge.manager.answers import PlanPart, TimeRange, meaning
from streamforge.manager.coverage.answers import Segment
from streamforge.manager.note_codes import Note, NoteCode, Noted, noted
from streamforge_utils.model.usage import shown_size

NEARLY_FULL = 0.8
"""A load that takes more than this share of what a licence leaves is warned of."""


class ForecastPart(PlanPart, frozen=True, kw_only=True):
    """A range that would be loaded, and what it takes. All numbers are estimates but those of candles."""

    records: Annotated[int, meaning("That are to be loaded.")]
    requests: Annotated[
        int,
        meaning("To the exchange. Of the parts that are read of files the first one has those that compare records."),
    ]
    weight: Annotated[int, meaning("Of these requests.")]
    download_bytes: Annotated[int, meaning("Of files, unless they are in the cache.")]


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What a load would do and take. Nothing is started or stored.

    Room is counted for the records alone, by what one takes in such a store.
    """

    symbol: str
    type: str
    time_range: TimeRange
    source: str
    targets: Annotated[list[str], meaning("The steps that it would have.")]
    parts: list[ForecastPart]
    unknown: Annotated[list[Segment], meaning("What no source that may be used has, with the cause.")]
    records_expected: Annotated[int, meaning("That are to be loaded.")]
    records_there: Annotated[int, meaning("Of the range, that are stored already and are not loaded again.")]
    requests: int
    weight: int
    weight_per_minute: Annotated[int, meaning("That all loaders may use.")]
    download_bytes: int
    seconds: Annotated[float, meaning("From the start to the end, about.")]
    estimate: Annotated[str, meaning("How the time is estimated.")]
    estimate_codes: list[Note] = []
    store_bytes: Annotated[int, meaning("That the records take in the store, about.")]
    free_bytes: Annotated[int | None, meaning("On the disk of the store, where that is the manager's own.")] = None
    licence_left_bytes: Annotated[
        int | None, meaning("That the store's licence leaves, where it sets a limit and shows it.")
    ] = None
    warnings: Annotated[list[str], meaning("Why it may not come to its end.")] = []
    warning_codes: list[Note] = []


class SymbolForecast(msgspec.Struct, frozen=True, kw_only=True):
    """What the load of one symbol of many would take; zeros where there is nothing to load. note: why, or why not."""

    symbol: str
    records_expected: int = 0
    records_there: int = 0
    requests: int = 0
    weight: int = 0
    download_bytes: int = 0
    store_bytes: int = 0
    parts: Annotated[dict[str, int], meaning("How many parts come from each source.")] = {}
    note: str = ""
    note_codes: list[Note] = []
    refused: Annotated[bool, meaning("Whether it cannot be loaded.")] = False


class BatchForecast(msgspec.Struct, frozen=True, kw_only=True):
    """What a load of many symbols would do and take. Nothing is started or stored.

    Not every symbol of very many is looked at: the sums are then those of the ones that were, scaled up.
    """

    symbols: Annotated[str, meaning("What was asked for: the first symbols and patterns.", "*USDT")]
    type: str
    requested: Annotated[str, meaning("The range, as it was written.")]
    size: Annotated[int, meaning("How many symbols it is of.")]
    delisted: Annotated[int, meaning("Those of them that the exchange does not trade.")]
    archived: Annotated[int, meaning("Those of them that only its archive has.")]
    unknown: Annotated[int, meaning("As of a batch.")] = 0
    unknown_first: Annotated[list[str], meaning("The first of these symbols.")] = []
    looked_at: Annotated[int, meaning("Of how many of them it was asked what they would take, spread over all.")]
    cut_short: Annotated[str | None, meaning("Why no more were asked, if that is not their number.")] = None
    refused: Annotated[int, meaning("Of those looked at: symbols that cannot be loaded, each with its reason.")]
    nothing: Annotated[int, meaning("Of those looked at: symbols of which there is nothing to load.")]
    records_expected: int
    records_there: int
    requests: int
    weight: int
    weight_per_minute: Annotated[int, meaning("That all loaders may use.")]
    download_bytes: int
    seconds: Annotated[float, meaning("From the start to the end, about.")]
    estimate: Annotated[str, meaning("How the time is estimated, and from how many symbols the sums are.")]
    estimate_codes: list[Note] = []
    store_bytes: Annotated[int, meaning("That the records take in the store, about.")]
    free_bytes: Annotated[int | None, meaning("As of the plan of one symbol.")] = None
    licence_left_bytes: Annotated[int | None, meaning("As of the plan of one symbol.")] = None
    warnings: Annotated[list[str], meaning("Why it may not come to its end.")] = []
    warning_codes: list[Note] = []
    each: Annotated[list[SymbolForecast], meaning("The first symbols that were looked at; refused ones come first.")]
    each_left_out: Annotated[int, meaning("How many more were looked at.")] = 0


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not be there yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def warnings_of(store_bytes: int, download: int, free: int | None, left: int | None) -> list[Noted]:
    """Why a load may not come to its end. free: bytes on the disk; left: bytes that the licence leaves."""
    found = []
    if free is not None and store_bytes + download > free:
        text = (
            f"it does not fit: the records take {shown_size(store_bytes)} and the files {shown_size(download)}, and "
            f"the disk has {shown_size(free)} left"
        )
        sizes = {"store_bytes": store_bytes, "download_bytes": download, "free_bytes": free}
        found.append(noted(text, NoteCode.DISK_TOO_SMALL, **sizes))
    if left is not None and store_bytes > NEARLY_FULL * left:
        verb, code = "takes most of", NoteCode.LICENCE_NEARLY_FULL
        if store_bytes > left:
            verb, code = "does not fit into", NoteCode.LICENCE_TOO_SMALL
        text = f"it {verb} what the store's licence leaves: {shown_size(store_bytes)} of {shown_size(left)}"
        found.append(noted(text, code, store_bytes=store_bytes, left_bytes=left))
    return found
