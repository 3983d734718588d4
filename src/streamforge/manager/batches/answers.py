"""The JSON that the API answers about batches; as `answers.py`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from streamforge.manager.answers import CURSOR, Moment, TimeRange, example, meaning, one_of
from streamforge.manager.batches.model import BATCH_ENDED, CUT_SHORT, BatchStatus, MemberStatus
from streamforge.manager.workflows.series.model import SourceChoice

BATCH_ID = "batch-api_candles_1m-20240801-abc123"


class BatchCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a batch by where they stand."""

    waiting: Annotated[int, meaning("No workflow is made for them yet, or their retry has not begun.")] = 0
    pending: int = 0
    running: int = 0
    stopping: int = 0
    finished: Annotated[int, meaning("All of the range is proven.")] = 0
    closed: Annotated[
        int, meaning("Nothing to load: not listed in the range, or at `listed_at`; nothing was over, or was new.")
    ] = 0
    interrupted: int = 0
    error: int = 0
    removed: Annotated[int, meaning("Their workflows were removed.")] = 0


class BatchProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a batch is, over all members."""

    records_expected: Annotated[int, meaning("Records that can be had, of the members whose workflow has a plan.")] = 0
    records_stored: Annotated[int, meaning("Of those, also what was stored before.")] = 0
    records_there: Annotated[int, meaning("Of records_stored, those that were stored before.")] = 0
    share: Annotated[float, meaning("0 to 1: members that have ended, and the shares of those that go on.")] = 0.0
    rate: Annotated[float, meaning("Records stored a second since the batch began, or was last retried.")] = 0.0
    eta_seconds: float | None = None


class BatchMember(msgspec.Struct, frozen=True, kw_only=True):
    """A symbol of a batch."""

    symbol: str
    status: Annotated[str, one_of(sorted({*MemberStatus, "pending", "running", "stopping"} - {"live"}))]
    queue_id: Annotated[str | None, meaning("Its workflow, once that is made.")] = None
    delisted: Annotated[bool, meaning("The exchange did not trade it when the batch was made.")] = False
    joined: Annotated[bool, meaning("Another request had made its workflow.")] = False
    records_expected: int | None = None
    records_stored: int = 0
    reason: Annotated[str | None, meaning("Why it is not finished, or why there was nothing to load.")] = None
    next_step: Annotated[str | None, meaning("What to do about it.")] = None
    code: Annotated[str | None, meaning("Of a failure: the same as in its workflow's.")] = None


class BatchLinks(msgspec.Struct, frozen=True, kw_only=True):
    """Where to go on, as paths of this server."""

    self: str
    members: str
    workflows: str


class BatchSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A batch without its failures."""

    batch_id: Annotated[str, example(BATCH_ID)]
    status: Annotated[str, one_of(sorted(frozenset(BatchStatus) - CUT_SHORT))]
    type: Annotated[str, example("api_candles_1m")]
    time_range: TimeRange
    symbols: Annotated[str, meaning("What was asked for: the first symbols and patterns.", "*USDT")]
    listed_at: Annotated[str | None, meaning("The day on which the members must have existed.")] = None
    again: bool = False
    source: Annotated[str, one_of(SourceChoice), meaning("Where the records are wanted from.")] = SourceChoice.AUTO
    labels: Annotated[dict[str, str], meaning("Of each of its workflows.", {"team": "research"})] = {}
    size: Annotated[int, meaning("How many symbols it is of.")]
    delisted: Annotated[int, meaning("Those of them that the exchange did not trade when the batch was made.")] = 0
    created_at: Moment
    ended_at: Moment | None = None
    waiting_for: Annotated[str | None, meaning("Why no more are made now, or what all running ones wait for.")] = None
    undriven: Annotated[str | None, meaning("Why no manager drives it at the moment. None: one does.")] = None
    counts: BatchCounts
    live: Annotated[
        dict[str, int],
        meaning("Of a batch of live workflows, how many that go on are `live`, `syncing`, `behind`, `suspect`."),
    ] = {}
    progress: BatchProgress
    links: BatchLinks

    @property
    def ended(self) -> bool:
        return self.status in BATCH_ENDED


class Batch(BatchSummary, frozen=True, kw_only=True):
    """A batch: one request for many symbols, and its outcome."""

    joined: Annotated[int, meaning("Members whose workflows other requests had made.")] = 0
    duplicates: Annotated[int, meaning("How often a symbol was named again; it is loaded once.")] = 0
    duplicated: Annotated[list[str], meaning("The first symbols that were named again.")] = []
    archived: Annotated[int, meaning("Members that only the exchange's archive has: its files are loaded.")] = 0
    left_out: Annotated[
        int,
        meaning("Symbols of a pattern that only the archive has, not loaded: `source` is `rest`."),
    ] = 0
    left_out_first: Annotated[list[str], meaning("The first of these symbols.")] = []
    unknown: Annotated[
        int, meaning("Symbols that were named, and are not loaded: the exchange does not have them (`skip_unknown`).")
    ] = 0
    unknown_first: Annotated[list[str], meaning("The first of these symbols.")] = []
    archive_silence: Annotated[
        str | None, meaning("Why it is not known which symbols only the archive has. No such symbol is loaded then.")
    ] = None
    failures: Annotated[list[BatchMember], meaning("The first members that failed or were interrupted.")] = []
    failures_left_out: Annotated[int, meaning("How many more there are: GET /batches/{batch_id}/members.")] = 0


class BatchPage(msgspec.Struct, frozen=True, kw_only=True):
    """Batches, newest first."""

    batches: list[BatchSummary]
    cursor: Annotated[str | None, meaning(CURSOR)] = None


class BatchMemberPage(msgspec.Struct, frozen=True, kw_only=True):
    """Members of a batch, in the order in which they were asked for."""

    batch_id: str
    members: list[BatchMember]
    cursor: Annotated[str | None, meaning(CURSOR)] = None
