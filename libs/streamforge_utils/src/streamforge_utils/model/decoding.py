"""The exceptions that decoding untrusted bytes with msgspec can raise."""

from __future__ import annotations

import msgspec

DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""The last two for texts that are no UTF-8, and for JSON nested deeper than Python can follow."""
