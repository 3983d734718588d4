"""Whether a manager drives the workflows of a store, for those who only look at it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from streamforge.manager.persistence.installation import Installations, instant
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.store import StateStore

SKEW_S = 10.0
"""By how much the clock of a manager elsewhere may differ from ours."""

DriverStatus = Callable[[], Awaitable[str | None]]
"""Says why no manager drives the workflows now; None: one does, or it cannot be told."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a manager would be found.

    where: the data, in a sentence. driven: whether a manager that holds the data directory drives. shared: managers
    elsewhere reach the store, and the one that drives it keeps a lease on it.
    """

    where: str
    driven: Callable[[], bool]
    shared: bool


def by_others(states: StateStore, clock: Clock, place: Place) -> DriverStatus:
    """What is known of a store that this process does not drive. The answer raises RetryableError."""

    async def no_driver_reason() -> str | None:
        if place.driven():
            return None
        if not place.shared:
            return f"no manager runs on {place.where}"
        holder = (await Installations(states).read())[0].holder
        if holder is None:
            return f"no manager drives {place.where}"
        late_s = (clock.now_ms() - holder.renewed_ms) / 1000
        if late_s > holder.lease_s + SKEW_S:
            return (
                f"the manager of {place.where}, {holder.name}, has not renewed its lease since "
                f"{instant(holder.renewed_ms)}"
            )
        if not holder.drives:
            return f"no manager drives {place.where}, which {holder.name} has to itself for now"
        return None

    return no_driver_reason
