"""How much the API accepts, waits and serves at once."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the API.

    body_bytes: of a request. body_timeout_s: for the whole body to arrive. header_bytes: of a request's head;
    header_timeout_s: for it to arrive. send_timeout_s: a client that takes nothing for so long is cut off.
    requests: served at once, beyond which 503; followers: live event streams among them.
    keep_alive_s: silence on an event stream before a comment is sent. retry_after_s: what a 503 advises.
    """

    body_bytes: int = 256 * 1024
    body_timeout_s: float = 10.0
    header_bytes: int = 32 * 1024
    header_timeout_s: float = 10.0
    send_timeout_s: float = 300.0
    requests: int = 128
    followers: int = 64
    keep_alive_s: float = 15.0
    retry_after_s: float = 2.0
