"""Every name that follows from something else, and the limits that names must keep.

A name that cannot hold its text, or would pass its limit, is cut and ends in a hash of the whole, so that two
different texts never share a name by being cut.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

LABEL_LIMIT = 63
TOPIC_LIMIT = 249
COLLECTION_LIMIT = 256
CODE_LENGTH = 6
CODE_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"

QUEUE_ID_PATTERN = r"wf-[a-z0-9._-]{1,56}-[0-9a-z]{6}"
_QUEUE_ID = re.compile(QUEUE_ID_PATTERN)
_DATA_SUFFIX, _DLQ_SUFFIX = "-data", "-data-dlq"


def queue_id(symbol: str, type_name: str, start_ms: int, code: str) -> str:
    """`wf-btcusdt-api_candles_1m-20240801-abc123`; at most 63 characters, legal as a Kubernetes label value.

    code: six characters base36, drawn by the caller and reserved by compare-and-set.
    """
    day = datetime.fromtimestamp(start_ms // 1000, UTC).strftime("%Y%m%d")
    room = LABEL_LIMIT - len(f"wf--{day}-{code}")
    return f"wf-{fit(f'{lower_type(symbol)}-{lower_type(type_name)}', room, 'a-z0-9._-')}-{day}-{code}"


def is_queue_id(text: str) -> bool:
    """Whether `text` has the form of a queue_id."""
    return len(text) <= LABEL_LIMIT and _QUEUE_ID.fullmatch(text) is not None


def code_of(queue: str) -> str:
    """The six characters at the end of a queue_id, which name the workflow in shorter names."""
    return queue[-CODE_LENGTH:]


def data_topic(queue: str) -> str:
    """The topic on which the records of a workflow travel."""
    return queue + _DATA_SUFFIX


def dlq_topic(topic: str) -> str:
    """The topic that receives what could not be stored of `topic`."""
    return f"{topic}-dlq"


def consumer_group(queue: str, target: str) -> str:
    """The consumer group of a step."""
    return f"{queue}-{target}"


def collection_name(symbol: str, type_name: str, start_ms: int) -> str:
    """`btcusdt_api_candles_1m_2024_08_01`: letters, digits, `_` and `-`, beginning with a letter, at most 256 bytes."""
    return f"{collection_base(symbol, type_name)}_{datetime.fromtimestamp(start_ms // 1000, UTC):%Y_%m_%d}"


def collection_base(symbol: str, type_name: str) -> str:
    """`btcusdt_ws_trades`: what names of collections begin with; it leaves room for a day."""
    room = COLLECTION_LIMIT - len("_2024_08_01") - 2
    stem = fit(f"{lower_type(symbol)}_{lower_type(type_name)}", room, "a-z0-9_-", joint="_")
    return stem if stem[0].isalpha() else f"s_{stem}"


def telemetry_id(target: str, queue: str) -> str:
    """`arango-candles__abc123`: the name of a step's worker in its events."""
    return f"{target}__{code_of(queue)}"


def job_name(target: str, symbol: str, queue: str, attempt: int) -> str:
    """`job-arango-candles-btcusdt-abc123`, later attempts with `-2`, `-3`; a DNS label of at most 57 characters.

    57, not 63: a pod adds a random suffix to the name of its Job.
    """
    tail = f"-{code_of(queue)}" + (f"-{attempt}" if attempt > 1 else "")
    room = 57 - len(f"job-{target}-") - len(tail)
    return f"job-{target}-{fit(symbol.lower(), max(room, 10), 'a-z0-9-')}{tail}"


def lower_type(text: str) -> str:
    """Lower-cased, with the interval `1M` written `1mo`, so that it does not become a minute."""
    return re.sub(r"(?<![0-9A-Za-z])1M$", "1mo", text).lower()


def fit(text: str, limit: int, allowed: str, joint: str = "-") -> str:
    """`text` itself if it is legal and short enough; else what is legal of it, cut, with a hash of the whole.

    allowed: the inside of a character class. joint: stands before the hash.
    """
    legal = re.sub(f"[^{allowed}]+", joint, text).strip("-_.")
    if legal == text and len(text) <= limit:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    kept = legal[: limit - len(digest) - 1].rstrip("-_.")
    return f"{kept}{joint}{digest}" if kept else digest
