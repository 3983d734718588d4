"""The parts of Kubernetes' objects that are read; the rest is skipped, so that thousands fit into little memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from streamforge_utils.ports.basket_members import read_exits


class Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Times are as the API server writes them; deletion_timestamp: it is being deleted."""

    name: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None

    def label(self, name: str) -> str:
        """The label's value, empty without it."""
        return (self.labels or {}).get(name, "")

    def annotation(self, name: str) -> str:
        """The annotation's value, empty without it."""
        return (self.annotations or {}).get(name, "")


class Condition(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something that holds of an object (status `True`), does not, or is not known."""

    type: str
    status: str = ""
    reason: str = ""
    message: str = ""


class JobStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a Job fares."""

    conditions: tuple[Condition, ...] | None = None


class Container(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A container of a pod that is to be made."""

    image: str = ""


class JobSpecification(msgspec.Struct, frozen=True, kw_only=True):
    """What a Job makes."""

    class PodTemplate(msgspec.Struct, frozen=True, kw_only=True):
        """Its pods."""

        class PodContent(msgspec.Struct, frozen=True, kw_only=True):
            """What is in them."""

            containers: tuple[Container, ...] = ()

        spec: PodContent = PodContent()

    template: PodTemplate = PodTemplate()


class JobObject(msgspec.Struct, frozen=True, kw_only=True):
    """A Job."""

    metadata: Metadata
    spec: JobSpecification = JobSpecification()
    status: JobStatus = JobStatus()

    @property
    def image(self) -> str:
        """What its worker runs; empty: it is not known."""
        containers = self.spec.template.spec.containers
        return containers[0].image if containers else ""

    def condition(self, *types: str) -> Condition | None:
        """The first condition of one of the types that holds."""
        return holding(self.status.conditions, *types)


class Terminated(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """How a container ended."""

    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    message: str = ""
    finished_at: str | None = None


class Waiting(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Why a container does not run yet."""

    reason: str = ""
    message: str = ""


class ContainerState(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two, or neither while it runs."""

    waiting: Waiting | None = None
    terminated: Terminated | None = None


class ContainerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a container of a pod fares."""

    image: str = ""
    state: ContainerState = ContainerState()


class PodSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Where a pod runs, and how long it has to end, seconds."""

    node_name: str = ""
    termination_grace_period_seconds: int = 30


class PodStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a pod fares."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None


class PodObject(msgspec.Struct, frozen=True, kw_only=True):
    """A pod."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def ended(self) -> bool:
        """Whether its containers have all ended, for good."""
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def leaving(self) -> bool:
        """Whether it is being deleted."""
        return self.metadata.deletion_timestamp is not None

    @property
    def terminated(self) -> Terminated | None:
        """How its container ended."""
        statuses = self.status.container_statuses or ()
        return next((one.state.terminated for one in statuses if one.state.terminated is not None), None)

    @property
    def waiting(self) -> Waiting | None:
        """Why its container does not run yet."""
        statuses = self.status.container_statuses or ()
        return next((one.state.waiting for one in statuses if one.state.waiting is not None), None)

    @property
    def final_message(self) -> str | None:
        """The last lines that it wrote, as its own status keeps them for one that failed; None if it does not."""
        return None if self.terminated is None or self.exits else self.terminated.message or None

    @property
    def exits(self) -> Sequence[int | None]:
        """How the members of a basket ended, in their order, as its process has told; None: it has not."""
        return () if self.terminated is None else read_exits(self.terminated.message)

    def condition(self, *types: str) -> Condition | None:
        """The first condition of one of the types that holds."""
        return holding(self.status.conditions, *types)


class InvolvedObject(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The object of an event."""

    uid: str = ""


class EventObject(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Something that happened to an object."""

    reason: str = ""
    message: str = ""
    involved_object: InvolvedObject = InvolvedObject()
    last_timestamp: str | None = None
    event_time: str | None = None

    @property
    def at(self) -> str:
        """The time of the last occurrence, as text that sorts."""
        return self.last_timestamp or self.event_time or ""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Kubernetes' answer to what it refuses, a `Status`."""

    class Details(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
        """What it is about. retry_after_seconds: when to ask again, 0 if it does not say."""

        class Cause(msgspec.Struct, frozen=True, kw_only=True):
            """One reason of it."""

            reason: str = ""

        causes: tuple[Cause, ...] | None = None
        retry_after_seconds: int = 0

    code: int = 0
    reason: str = ""
    message: str = ""
    details: Details | None = None


class ListMetadata(msgspec.Struct, frozen=True, kw_only=True, rename={"resource_version": "resourceVersion"}):
    """Where a watch goes on after the list; `continue`: where the next page does."""

    resource_version: str = ""
    following: str = msgspec.field(default="", name="continue")


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a list."""

    metadata: ListMetadata = ListMetadata()
    items: list[msgspec.Raw] | None = None


class WatchLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a watch: `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`."""

    type: str
    object: msgspec.Raw


def holding(conditions: tuple[Condition, ...] | None, *types: str) -> Condition | None:
    """The first condition of one of the types that holds."""
    return next((one for one in conditions or () if one.type in types and one.status == "True"), None)


def milliseconds(text: str | None) -> int:
    """Unix milliseconds of a time as the API server writes it; 0 for none."""
    if not text:
        return 0
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return 0
