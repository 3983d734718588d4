"""What the manager needs: the ports it speaks to, and what it keeps on them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from streamforge.manager.batches.store import BatchStore
from streamforge.manager.coverage.store import CoverageStore
from streamforge.manager.dead_letters.store import DeadLetterReader
from streamforge.manager.engine.persistence.event_history import EventHistory
from streamforge.manager.engine.persistence.workflow_store import WorkflowStore
from streamforge.manager.engine.services import Services
from streamforge.manager.graphs import store as graph_store
from streamforge.manager.health.shown_settings import Setting
from streamforge.manager.logs.store import AttemptLogs
from streamforge.manager.models import store as model_store
from streamforge.manager.models.known_store import KnownStore
from streamforge.manager.origin import Source
from streamforge.manager.persistence.change_notes import ChangeNotes
from streamforge.manager.persistence.installation import Claim, DriverStatus, ExchangeBinding
from streamforge.manager.persistence.removal_notes import RemovalNotes
from streamforge.manager.persistence.reservations import Reservations
from streamforge.manager.retention.service import RecordRemoval
from streamforge.manager.schedules.store import ScheduleStore
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.ports.archive import Archive
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.exchange import Exchange, Identity
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.ports.store import Store
from streamforge_utils.runtime.life.context import MessageBus
from streamforge_utils.runtime.life.settings import SampledFiles
from streamforge_utils.runtime.telemetry.logs import TextRedactor


async def nothing_known() -> Mapping[str, str]:
    """Technologies that no setting names."""
    return {}


class Dependencies(Services, frozen=True, kw_only=True):
    """The manager's ports, stores and numbers; those of the engine are among them.

    exchange_name: as it is called in a sentence. source: where the data come from. no_driver_reason: says why no
    manager drives the workflows; None: this one does. exchange_binding: keeps the store to one exchange. archive: the
    exchange's files; None: there are none. archive_samples: which of them are compared with it. objects: where segments
    are; None: nowhere. retained: where old collections are exported to before they are dropped; None: none is. folder:
    where the store is, if that is on this machine. asks: `exchange` is the one that the data come from. redact: takes
    secrets out of a text. technologies: asks what `bus` and `store` are, with their versions. settings: what the
    manager was started with. misspelt, doubtful: a sentence for each variable that is almost a setting, and for what is
    probably not meant so.
    """

    exchange: Exchange
    batches: BatchStore
    coverage: CoverageStore
    removal: RecordRemoval
    logs: AttemptLogs
    reservations: Reservations
    schedules: ScheduleStore
    graphs: KnownStore[graph_store.KnownGraph]
    models: KnownStore[model_store.KnownModel]
    dead_letters: DeadLetterReader
    exchange_binding: ExchangeBinding
    changes: ChangeNotes
    archive: Archive | None = None
    archive_samples: SampledFiles = "some"
    objects: ObjectStore | None = None
    retained: ObjectStore | None = None
    folder: Path | None = None
    exchange_name: str = "the exchange"
    source: Source = Source()
    no_driver_reason: DriverStatus | None = None
    asks: bool = True
    redact: Callable[[str], str] = TextRedactor()
    technologies: Callable[[], Awaitable[Mapping[str, str]]] = nothing_known
    settings: Sequence[Setting] = ()
    misspelt: Sequence[str] = ()
    doubtful: Sequence[str] = ()

    async def undriven(self) -> str | None:
        """Why no manager drives the workflows, as far as the store and the fence know; None: one does."""
        if self.no_driver_reason is not None:
            return await self.no_driver_reason()
        try:
            self.fence()
        except StreamForgeError as error:
            return str(error)
        return None

    @classmethod
    def on(
        cls,
        bus: MessageBus,
        store: Store,
        *,
        clock: Clock,
        observer: Observer,
        claim: Claim | None = None,
        identity: Identity | None = None,
        **others: Any,
    ) -> Dependencies:
        """Everything that the manager keeps on a bus and a store. claim, identity: as `ExchangeBinding` takes them.

        others: the fields that do not follow from these.
        """
        changes = ChangeNotes()
        workflows, coverage = WorkflowStore(store, changes), CoverageStore(store)
        binding = ExchangeBinding(store, claim, identity or Identity())
        return cls(
            bus=bus,
            admin=bus,
            store=store,
            clock=clock,
            observer=observer,
            workflows=workflows,
            batches=BatchStore(store, changes),
            changes=changes,
            coverage=coverage,
            locks=coverage.locks,
            removal=RecordRemoval(store, coverage, workflows, observer, others.get("objects")),
            history=EventHistory(store),
            logs=AttemptLogs(store),
            reservations=Reservations(store, clock),
            removals=RemovalNotes(store, clock),
            schedules=ScheduleStore(store, changes),
            graphs=KnownStore(store, graph_store.KIND, graph_store.KnownGraph, "build it again"),
            models=KnownStore(store, model_store.KIND, model_store.KnownModel, "train it again"),
            dead_letters=DeadLetterReader(bus, bus),
            exchange_binding=binding,
            exchange_identity=lambda: binding.expected,
            **others,
        )
