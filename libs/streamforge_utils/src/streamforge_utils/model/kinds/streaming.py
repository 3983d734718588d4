"""How an exchange's streams give the records of a kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import msgspec

from streamforge_utils.model.series import Series


class Heard(msgspec.Struct, frozen=True, gc=False):
    """What messages of one series say, in the order in which they came; what repeats is not left out.

    positions, times, keys, values: of records, as `Page` has them; empty where a message is only a hint. hints:
    positions of records that are final now, and are to be asked for. others: messages that are none of this kind's, as
    they came. refused: those that are, and can never be records, each with the reason. broken: how many of these are
    no JSON: what gave them gives nothing that can be trusted.
    connection, received_us: the number of the connection on which they came, and when, unix microseconds; a session
    fills them in.
    """

    positions: Sequence[int] = ()
    times: Sequence[int] = ()
    keys: Sequence[bytes] = ()
    values: Sequence[bytes] = ()
    hints: Sequence[int] = ()
    others: Sequence[bytes] = ()
    refused: Sequence[tuple[bytes, str]] = ()
    broken: int = 0
    connection: int = 0
    received_us: int = 0

    def __len__(self) -> int:
        return len(self.positions)


class Streaming(ABC):
    """The streams of a kind: their names, and how their messages are read.

    silence_s: a stream of a symbol that trades is asked about by REST if nothing came for so long; seconds.
    """

    silence_s: float = 60.0

    @abstractmethod
    def streams(self, series: Series) -> tuple[str, ...]:
        """The exchange's names of the streams that give `series`, e.g. `btcusdt@trade`."""

    @abstractmethod
    def read(self, payloads: Sequence[bytes], series: Series, observed_ms: int) -> Heard:
        """Read messages of the combined form. observed_ms: becomes the version of the records.

        A message of a stream that is not of `series`, an answer or an unknown event is one of `others`; a time that is
        not in milliseconds is refused, never misread. It raises nothing.
        """
