"""What the manager is made of: the ports it speaks to, and what it keeps on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from streamforge.manager.acting.removing import Removing
from streamforge.manager.acting.waits import Waits
from streamforge.manager.keeping.coverage import Coverage
from streamforge.manager.keeping.deadletters import DeadLetters
from streamforge.manager.keeping.driving import Undriven
from streamforge.manager.keeping.history import History
from streamforge.manager.keeping.origins import Origins
from streamforge.manager.keeping.reservations import Reservations
from streamforge.manager.keeping.workflows import Workflows
from streamforge.manager.origin import Source
from streamforge.manager.policy import Policy
from streamforge_utils.ports.bus import Bus, BusAdmin, Producer
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.exchange import Exchange
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.ports.launcher import Launcher
from streamforge_utils.ports.store import Store


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The manager's ports, stores and numbers.

    common: settings that every worker gets. exchange_name: as it is called in a sentence. exchange_waits: what
    questions to `exchange` wait for, where it is known. source: where the data come from. fence: is called before
    anything is done; raises while another manager may have the store. undriven: says why no manager drives the
    workflows; None: this one does. origins: keeps the store to one exchange.
    """

    bus: Bus
    admin: BusAdmin
    producer: Producer
    store: Store
    launcher: Launcher
    exchange: Exchange
    clock: Clock
    observer: Observer
    policy: Policy
    common: Mapping[str, str]
    control_topic: str
    events_topic: str
    workflows: Workflows
    coverage: Coverage
    removing: Removing
    history: History
    reservations: Reservations
    dead_letters: DeadLetters
    origins: Origins
    exchange_name: str = "the exchange"
    exchange_waits: Waits | None = None
    source: Source = Source()
    fence: Callable[[], None] = lambda: None
    undriven: Undriven | None = None
