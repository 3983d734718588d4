"""The settings of the exchange's streams."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from streamforge_utils.ports.basket_members import BASKET, BASKET_DIR, BASKET_REPORT
from streamforge_utils.runtime.life.environment import variable


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the exchange's streams are, and how often a connection may be tried."""

    url: Annotated[
        str,
        # Unseen: somebody may have written a password into it.
        variable(
            "STREAMFORGE_STREAM_URL",
            "address of the exchange's streams, `wss://HOST:PORT`, with or without `/ws` at its end",
            default="`BINANCE_WS_URL`, else that of Binance where the exchange is Binance, else the exchange's own",
            unseen=True,
            only="stream",
        ),
    ] = ""
    other_url: Annotated[
        str,
        variable(
            "BINANCE_WS_URL",
            "another name of `STREAMFORGE_STREAM_URL`, which goes first",
            unseen=True,
            only="stream",
        ),
    ] = ""
    ca_path: Annotated[
        Path | None,
        variable(
            "STREAMFORGE_STREAM_CA_PATH",
            "PEM file of the CA that signed the server's certificate; it may be replaced at any time",
            default="the system's CAs",
            only="stream",
        ),
    ] = None
    basket: Annotated[
        str,
        variable(
            BASKET,
            'the jobs of a basket, which this process does all: a JSON list of `{"job": NAME, "environment": {…}}`, '
            "whose variables go before those of the process",
            default="it does one, which its own variables tell",
            unseen=True,
            only="stream",
        ),
    ] = ""
    basket_dir: Annotated[
        Path | None,
        variable(
            BASKET_DIR,
            "where a launcher on this machine has a folder for each job of a basket, in which it is noted how it ended",
            default="nowhere",
            only="stream",
        ),
    ] = None
    basket_report: Annotated[
        Path | None,
        variable(
            BASKET_REPORT,
            "a file for how the jobs of a basket ended, as a pod has one for its last message",
            default="nowhere",
            only="stream",
        ),
    ] = None
    connects: Annotated[
        int,
        msgspec.Meta(ge=1, le=300),
        variable(
            "STREAMFORGE_CONNECTS",
            "how many connections to the streams this worker may try to make in five minutes; Binance allows an "
            "address 300, for all workers",
            unit="connections in five minutes",
            only="stream",
        ),
    ] = 30
    shadow: Annotated[
        bool,
        variable(
            "STREAMFORGE_SHADOW",
            "another attempt of the same step writes: hold what comes until the command `takeover` says that it has "
            "ended",
            only="stream",
        ),
    ] = False
    leaving_seconds: Annotated[
        float,
        msgspec.Meta(ge=0),
        variable(
            "STREAMFORGE_LEAVING_SECONDS",
            "how long the worker continues after SIGTERM until a stop command: meanwhile another attempt can take "
            "its place without a gap",
            unit="seconds",
            only="stream",
        ),
    ] = 0.0
