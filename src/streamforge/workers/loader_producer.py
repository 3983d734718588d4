"""Loads candles and trades from the exchange's archive, the files of past days and months, into the data topic."""

from __future__ import annotations

from streamforge_utils.runtime.history.archive_loader import ArchiveParameters, load_archive
from streamforge_utils.runtime.life.worker_definition import Definition, Role, Source, Use

DEFINITION = Definition(
    target="loader-producer",
    summary="loads candles and trades from the exchange's archive of past days",
    role=Role.LOADER,
    types=("api_candles_", "api_trades", "api_agg_trades"),
    default=False,
    source=Source.ARCHIVE,
    parameters=ArchiveParameters,
    uses=frozenset({Use.ARCHIVE, Use.EXCHANGE, Use.OUTPUT}),
    run=load_archive,
)
