"""The three ways in which work can fail; adapters translate what they meet into one of them.

A message names what failed, on which input, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableSequence, Sequence
from contextlib import contextmanager


class StreamForgeError(Exception):
    """Base of every error that StreamForge raises on purpose."""


class ConfigError(StreamForgeError):
    """A setting is missing or wrong: nothing but a change of the settings helps (exit code 2)."""


class DamagedFile(ConfigError):
    """A file or a document of ours cannot be read any more; the message names it and what to do."""


class RetryableError(StreamForgeError):
    """The same call may succeed later (exit code 1 once the retries are spent).

    retry_after: seconds to wait before the next try, where the other side named a time.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BannedError(RetryableError):
    """The exchange refuses every call from this address until `until_ms` (unix milliseconds, by our clock)."""

    def __init__(self, message: str, *, until_ms: int, retry_after: float) -> None:
        super().__init__(message, retry_after=retry_after)
        self.until_ms = until_ms


class RefusedForNow(RetryableError):
    """The other side itself answers, and refuses every call for a while."""


class OtherExchange(RetryableError):
    """Another exchange answers than the one that was expected; it may be the right one again later."""


class TopicFull(RetryableError):
    """A topic is at its cap and its readers made no room for too long: nothing of the rest was sent."""


class PermanentError(StreamForgeError):
    """The call will never succeed as it is: the input must change (exit code 1, not retried)."""


class TooLarge(PermanentError):
    """A message is larger than its topic takes."""


class InvalidInput(PermanentError):
    """A value given by a person or a program is not acceptable; `field` names it.

    code: a word for programs, where one says more than the field does. meant: names that are there and much like it.
    also: others of the same request.
    """

    also: Sequence[InvalidInput] = ()

    def __init__(self, field: str, message: str, *, code: str = "", meant: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.field = field
        self.code = code
        self.meant = tuple(meant)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.field, str(self)), self.__dict__  # it can be raised in another process


@contextmanager
def noted(found: MutableSequence[InvalidInput]) -> Iterator[None]:
    """Adds an InvalidInput that is raised inside to `found`, and goes on behind."""
    try:
        yield
    except InvalidInput as error:
        found.append(error)


def raise_noted(found: Sequence[InvalidInput]) -> None:
    """Raises the first of them, which names the others, if there is one."""
    if found:
        found[0].also = found[1:]
        raise found[0]


class ConflictError(StreamForgeError):
    """A compare-and-set met another state than the one it was based on: read again and decide again."""
