"""What the engine uses of the manager: the ports that it speaks to, and what it keeps on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from streamforge.manager.engine.execution.exchange_limits import ExchangeWaits
from streamforge.manager.engine.persistence.event_history import EventHistory
from streamforge.manager.engine.persistence.workflow_store import WorkflowStore
from streamforge.manager.persistence.named_locks import NamedLocks
from streamforge.manager.persistence.removal_notes import RemovalNotes
from streamforge.manager.policy import Policy
from streamforge_utils.ports.bus import Bus, BusAdmin, Producer
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.ports.launcher import Launcher
from streamforge_utils.ports.store import Store


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """The ports, stores and numbers of the engine.

    common: settings that every worker gets. exchange_identity: the exchange that has to answer, once that is known.
    exchange_waits: what questions to the exchange wait for, where it
    is known. fence: is called before anything is done; raises while another manager may have the store. locks: held
    while what is known of a series, or of a topic, changes. version: of the workers that are processes; empty: it is
    not compared.
    """

    bus: Bus
    admin: BusAdmin
    producer: Producer
    store: Store
    launcher: Launcher
    clock: Clock
    observer: Observer
    policy: Policy
    common: Mapping[str, str]
    control_topic: str
    events_topic: str
    workflows: WorkflowStore
    history: EventHistory
    removals: RemovalNotes
    locks: NamedLocks
    exchange_waits: ExchangeWaits | None = None
    exchange_identity: Callable[[], str | None] = lambda: None
    fence: Callable[[], None] = lambda: None
    version: str = ""
