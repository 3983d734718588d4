"""A pod's status, as the API server takes it. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from tests.engines.kubernetes.rest import Object

SUCCEEDED = "Succeeded"
FAILED = "Failed"


def stamp() -> str:
    """This moment as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def waiting(reason: str, message: str = "") -> Object:
    """The state of a container that has not started. reason: such as `ImagePullBackOff`."""
    return {"waiting": {"reason": reason, "message": message}}


def running() -> Object:
    """The state of a container that starts at this moment."""
    return {"running": {"startedAt": stamp()}}


def terminated(code: int, since: str | None, reason: str = "", message: str = "") -> Object:
    """The state of a container that ends at this moment. reason: by default what the code says."""
    reason = reason or ("Completed" if code == 0 else "Error")
    found = {"exitCode": code, "reason": reason, "startedAt": since, "finishedAt": stamp(), "message": message}
    return {"terminated": found}


@dataclass(frozen=True)
class ContainerStatus:
    """A container and how it is. last: how its run before this one ended."""

    name: str
    image: str
    state: Object
    ready: bool = False
    restarts: int = 0
    last: Object = field(default_factory=dict)

    def encode(self) -> Object:
        """As Kubernetes has it."""
        runs = "running" in self.state
        return {
            "name": self.name,
            "image": self.image,
            "imageID": "" if "waiting" in self.state else f"streamforge://{self.image}",
            "state": self.state,
            "lastState": self.last,
            "ready": self.ready and runs,
            "started": runs,
            "restartCount": self.restarts,
        }

    @property
    def succeeded(self) -> bool:
        """Whether it ended with 0."""
        return bool(self.state.get("terminated", {}).get("exitCode") == 0)

    def at(self, state: Object, *, ready: bool = False) -> ContainerStatus:
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


def pod_status(
    address: str, start: str, containers: Sequence[ContainerStatus], phase: str, verdict: Verdict = PLAIN
) -> Object:
    """The status to patch in. address: of the pod and its node; start: when it came to it; phase: such as `Running`."""
    over = phase in (SUCCEEDED, FAILED)
    encoded = [status.encode() for status in containers]
    ready = not over and all(status["ready"] for status in encoded)
    why = "" if ready else {SUCCEEDED: "PodCompleted", FAILED: "PodFailed"}.get(phase, "ContainersNotReady")
    conditions = [
        condition("PodReadyToStartContainers", not over),
        condition("Initialized", True),
        condition("Ready", ready, why),
        condition("ContainersReady", ready, why),
    ]
    if verdict.disruption:
        conditions.append(condition("DisruptionTarget", True, verdict.disruption, verdict.message))
    found: Object = {
        "phase": phase,
        "startTime": start,
        "hostIP": address,
        "hostIPs": [{"ip": address}],
        "podIP": address,
        "podIPs": [{"ip": address}],
        "containerStatuses": encoded,
        "conditions": conditions,
    }
    return found | ({"reason": verdict.reason, "message": verdict.message} if verdict.reason else {})


def condition(kind: str, holds: bool, reason: str = "", message: str = "") -> Object:
    """A condition of a pod or a node, as of this moment."""
    return {
        "type": kind,
        "status": "True" if holds else "False",
        "reason": reason,
        "message": message,
        "lastTransitionTime": stamp(),
    }
