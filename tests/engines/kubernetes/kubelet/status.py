"""A pod's status, as the API server takes it. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from tests.engines.kubernetes.rest import Object

SUCCEEDED = "Succeeded"
FAILED = "Failed"
STARTED_WITH_TROUBLE = 128


def stamp() -> str:
    """This moment as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Waiting:
    """Not started. reason: such as `ImagePullBackOff`."""

    reason: str
    message: str = ""

    def state(self) -> Object:
        """As Kubernetes has it."""
        return {"waiting": {"reason": self.reason, **({"message": self.message} if self.message else {})}}


@dataclass(frozen=True)
class Running:
    """It runs."""

    since: str

    def state(self) -> Object:
        """As Kubernetes has it."""
        return {"running": {"startedAt": self.since}}


@dataclass(frozen=True)
class Terminated:
    """It has ended. reason: by default what the code says."""

    code: int
    since: str | None
    until: str
    reason: str = ""
    message: str = ""

    def state(self) -> Object:
        """As Kubernetes has it."""
        told: Object = {
            "exitCode": self.code,
            "reason": self.reason or ("Completed" if self.code == 0 else "Error"),
            "startedAt": self.since,
            "finishedAt": self.until,
        }
        if self.message:
            told["message"] = self.message
        return {"terminated": told}


State = Waiting | Running | Terminated


@dataclass(frozen=True)
class ContainerStatus:
    """A container and how it is. last: how its run before this one ended."""

    name: str
    image: str
    state: State
    ready: bool = False
    restarts: int = 0
    last: Terminated | None = None

    def encode(self) -> Object:
        """As Kubernetes has it."""
        runs = isinstance(self.state, Running)
        found: Object = {
            "name": self.name,
            "image": self.image,
            "imageID": "" if isinstance(self.state, Waiting) else f"streamforge://{self.image}",
            "state": self.state.state(),
            "lastState": self.last.state() if self.last else {},
            "ready": self.ready and runs,
            "started": runs,
            "restartCount": self.restarts,
        }
        return found

    def at(self, state: State, *, ready: bool = False) -> ContainerStatus:
        """The same container in another state."""
        return replace(self, state=state, ready=ready)


@dataclass(frozen=True)
class Verdict:
    """How a pod ended, beyond its containers. reason, message: the pod's. disruption: what the disruption is called."""

    reason: str = ""
    message: str = ""
    disruption: str = ""
    failed: bool = False


PLAIN = Verdict()


@dataclass
class PodStatus:
    """What the kubelet knows of a pod; `encode` makes a patch of it. address: of the pod and its node."""

    address: str
    start: str
    init: list[ContainerStatus] = field(default_factory=list)
    containers: list[ContainerStatus] = field(default_factory=list)

    def encode(self, phase: str, verdict: Verdict | None = None) -> Object:
        """The status to patch in. phase: such as `Running`."""
        over = phase in (SUCCEEDED, FAILED)
        initialized = all(isinstance(status.state, Terminated) and status.state.code == 0 for status in self.init)
        ready = not over and bool(self.containers) and all(status.encode()["ready"] for status in self.containers)
        why = ""
        if not ready:
            why = {SUCCEEDED: "PodCompleted", FAILED: "PodFailed"}.get(phase, "ContainersNotReady")
        conditions = [
            _condition("PodReadyToStartContainers", not over),
            _condition("Initialized", initialized or phase == SUCCEEDED),
            _condition("Ready", ready, why),
            _condition("ContainersReady", ready, why),
        ]
        told: Object = {
            "phase": phase,
            "startTime": self.start,
            "hostIP": self.address,
            "hostIPs": [{"ip": self.address}],
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "initContainerStatuses": [status.encode() for status in self.init],
            "containerStatuses": [status.encode() for status in self.containers],
            "conditions": conditions,
        }
        if verdict is not None and verdict.reason:
            told |= {"reason": verdict.reason, "message": verdict.message}
        if verdict is not None and verdict.disruption:
            conditions.append(_condition("DisruptionTarget", True, verdict.disruption, verdict.message))
        return told


def phase_of(containers: Sequence[ContainerStatus]) -> str:
    """The phase of a pod whose containers have all ended or never started."""
    good = all(isinstance(status.state, Terminated) and status.state.code == 0 for status in containers)
    return SUCCEEDED if good else FAILED


def _condition(kind: str, holds: bool, reason: str = "", message: str = "") -> Object:
    found: Object = {"type": kind, "status": "True" if holds else "False", "lastProbeTime": None}
    if reason:
        found["reason"] = reason
    if message:
        found["message"] = message
    return {**found, "lastTransitionTime": stamp()}
