"""What a double does not promise, by name and reason: nothing of a contract is left out in silence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T", bound=type)

ONE_PROCESS = "it lives in one process"


def without(reasons: Mapping[str, str]) -> Callable[[T], T]:
    """Leave these tests out of a contract. reasons: by the test's name; a name that is none is an error."""

    def leave_out(suite: T) -> T:
        for name, reason in reasons.items():
            if not callable(getattr(suite, name, None)) or not reason:
                raise AssertionError(f"{suite.__name__}: {name} is no test of its contract, or no reason is given")
            setattr(suite, name, None)
        return suite

    return leave_out
