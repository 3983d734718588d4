"""What gnn-trainer and its training process tell each other: frames on pipes, each a message behind its length."""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from streamforge.analytics.models.training_order import TrainingOrder
from streamforge.analytics.models.training_parameters import TrainingParameters

LENGTH: Final = struct.Struct("<Q")


class _Message(msgspec.Struct, frozen=True, tag=True):
    pass


class Begin(_Message, frozen=True):
    """To the process, first. bars: by symbol times, closes, volumes and opens, as arrays of 8 bytes. kept: the names of
    the checkpoints that there are."""

    order: TrainingOrder
    parameters: TrainingParameters
    bars: dict[str, tuple[bytes, bytes, bytes, bytes]]
    kept: list[str]


class Checkpoint(_Message, frozen=True):
    """To the process: what was asked for; None: it is gone. From the process: what is to be kept."""

    name: str
    content: bytes | None


class Wanted(_Message, frozen=True):
    """From the process: it waits for this checkpoint."""

    name: str


class Run(_Message, frozen=True):
    """From the process: its run, once it is known. It waits for `Go`: there may be nothing to do."""

    run_id: str


class Go(_Message, frozen=True):
    """To the process: train."""


class Part(_Message, frozen=True):
    """From the process: so many parts are there, this one is the latest."""

    model: str
    seed: int
    fold: int
    number: int
    total: int


class Learning(_Message, frozen=True):
    """From the process, now and then: what learns is through this one of its epochs, of so many at most. fold:
    -1: it learns to be published."""

    model: str
    seed: int
    fold: int
    epoch: int
    epochs: int


class Files(_Message, frozen=True):
    """From the process, last: contents by the last part of their names, and the manifest."""

    files: dict[str, bytes]
    manifest: bytes


class Refused(_Message, frozen=True):
    """From the process, last: it cannot be done. setting: as something is not installed, or set wrongly. again: it may
    be the next time."""

    reason: str
    setting: bool = False
    again: bool = False


ToProcess = Begin | Checkpoint | Go
FromProcess = Checkpoint | Wanted | Run | Part | Learning | Files | Refused

encode = msgspec.msgpack.Encoder().encode
to_process = msgspec.msgpack.Decoder(ToProcess).decode
from_process = msgspec.msgpack.Decoder(FromProcess).decode


def framed(message: ToProcess | FromProcess) -> bytes:
    """The message as it goes into a pipe."""
    content = encode(message)
    return LENGTH.pack(len(content)) + content
