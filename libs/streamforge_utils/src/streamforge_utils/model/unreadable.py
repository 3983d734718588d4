"""What a decoder of msgspec raises for bytes that anybody may have sent."""

from __future__ import annotations

import msgspec

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""The last two for texts that are no UTF-8, and for JSON nested deeper than Python can follow."""
