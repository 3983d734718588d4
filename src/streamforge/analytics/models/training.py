"""The process that trains: `python -m streamforge.analytics.models.training`, started by gnn-trainer.

It speaks by its standard input and output, touches no store, and ends at once when its input does: its parent is gone.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import IO

import numpy as np

from streamforge.analytics.graphs.panel import Bars
from streamforge.analytics.models import ladder, training_messages
from streamforge.analytics.models.model import Epoch
from streamforge.analytics.models.model_manifest import checkpoints_of, encoded
from streamforge.analytics.models.trainer import Trainer
from streamforge.analytics.models.training_messages import (
    LENGTH,
    Begin,
    Checkpoint,
    Files,
    FromProcess,
    Go,
    Learning,
    Part,
    Refused,
    Run,
    ToProcess,
    Wanted,
    framed,
)
from streamforge_utils.model.errors import ConfigError, InvalidInput, PermanentError, RetryableError

_ABANDONED = 3
_EPOCHS_EVERY_S = 0.25


class Parent:
    """The other end of the pipes."""

    def __init__(self, source: IO[bytes], target: IO[bytes]) -> None:
        self._source = source
        self._target = target
        self._sending = threading.Lock()
        self._said: queue.SimpleQueue[ToProcess] = queue.SimpleQueue()
        # A thread, so that the end of the parent is noticed in the midst of arithmetic.
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, message: FromProcess) -> None:
        with self._sending:
            self._target.write(framed(message))
            self._target.flush()

    def receive(self) -> ToProcess:
        return self._said.get()

    def _listen(self) -> None:
        while len(head := self._source.read(LENGTH.size)) == LENGTH.size:
            (length,) = LENGTH.unpack(head)
            if len(content := self._source.read(length)) < length:
                break
            self._said.put(training_messages.to_process(content))
        os._exit(_ABANDONED)


class KeptByParent:
    """Checkpoints that the parent stores. kept: names of those that there are."""

    def __init__(self, parent: Parent, place: str, kept: list[str]) -> None:
        self._parent = parent
        self._place = place
        self._kept = {*kept}

    def load(self, part: ladder.Part) -> bytes | None:
        name = self._name(part)
        if name not in self._kept:
            return None
        self._parent.send(Wanted(name))
        answer = self._parent.receive()
        return answer.content if isinstance(answer, Checkpoint) else None

    def save(self, part: ladder.Part, predictions: bytes) -> None:
        self._parent.send(Checkpoint(self._name(part), predictions))

    def _name(self, part: ladder.Part) -> str:
        return f"{self._place}{part.run_id[:32]}/{part.model}-{part.seed}-{part.fold}"


class Epochs:
    """Tells the parent of epochs, of a few in a second: many may end in one."""

    def __init__(self, send: Callable[[Learning], None], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._send = send
        self._monotonic = monotonic
        self._next = monotonic()

    def __call__(self, part: ladder.Part, epoch: Epoch) -> None:
        now = self._monotonic()
        if now >= self._next:
            self._next = now + _EPOCHS_EVERY_S
            self._send(Learning(part.model, part.seed, part.fold, epoch.number, epoch.epochs))


def run(parent: Parent) -> None:
    """Do what the parent says first, and tell it what came of it."""
    begin = parent.receive()
    if not isinstance(begin, Begin):
        raise TypeError(f"a training begins with Begin, not with {type(begin).__name__}")
    try:
        trainer = Trainer(begin.order, begin.parameters, {name: _bars(one) for name, one in begin.bars.items()})
        parent.send(Run(trainer.run_id))
        if not isinstance(parent.receive(), Go):
            return

        def progress(part: ladder.Part, number: int, total: int) -> None:
            parent.send(Part(part.model, part.seed, part.fold, number, total))

        checkpoints = KeptByParent(parent, checkpoints_of(begin.order.name), begin.kept)
        files, manifest = trainer.publish(checkpoints, progress, Epochs(parent.send))
    except (InvalidInput, PermanentError, ConfigError, RetryableError) as error:
        parent.send(Refused(str(error), isinstance(error, ConfigError), isinstance(error, RetryableError)))
    else:
        parent.send(Files(files, encoded(manifest)))


def _bars(arrays: tuple[bytes, bytes, bytes, bytes]) -> Bars:
    times, *values = arrays
    closes, volumes, opens = (np.frombuffer(one, dtype="<f8") for one in values)
    return Bars(np.frombuffer(times, dtype="<i8"), closes, volumes, opens)


def main() -> None:
    target = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no message
    run(Parent(sys.stdin.buffer, target))
    target.flush()
    os._exit(0)  # the thread that listens would be waited for


if __name__ == "__main__":
    main()
