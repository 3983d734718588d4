"""Jobs for the tests: made, watched and looked at through the API server."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from tests.engines.kubernetes.kubelet import faults
from tests.engines.kubernetes.rest import ApiError, Object, Rest
from tests.engines.process import EngineError

T = TypeVar("T")
# Busy machines are slow, not wrong.
LIMIT_S = 270.0
_JOBS = "/apis/batch/v1/namespaces"
_QUOTA = "used-up"


def container(command: Sequence[str] | None = None, *, image: str = "local/shell:1", **more: Any) -> Object:
    """A container that Pod Security `restricted` lets in."""
    given: Object = {
        "name": "main",
        "image": image,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    if command is not None:
        given["command"] = list(command)
    return given | more


def shell(script: str, **more: Any) -> Object:
    """A container that runs a shell script."""
    return container(["sh", "-c", script], **more)


def job(name: str, *containers: Object, pod: Object | None = None, **spec: Any) -> Object:
    """A Job whose one pod may fail once. pod: more of the pod's spec."""
    secured = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    template: Object = {"restartPolicy": "Never", "securityContext": secured, "containers": list(containers)}
    return {
        "metadata": {"name": name},
        "spec": {
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "template": {"spec": {**template, "automountServiceAccountToken": False, **(pod or {})}},
            **spec,
        },
    }


def until(what: str, look: Callable[[], T | None], limit_s: float = LIMIT_S) -> T:
    """What `look` finds, once it finds something. Raises EngineError naming `what` it waited for."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            found = look()
        except (ApiError, OSError):
            if time.monotonic() > deadline:
                raise
            found = None
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            raise EngineError(f"waited {limit_s:.0f} s without success: {what}")
        time.sleep(0.05)


class Namespace:
    """Jobs and pods of one namespace."""

    def __init__(self, rest: Rest, name: str) -> None:
        self.rest = rest
        self.name = name
        self.path = f"/api/v1/namespaces/{name}"

    def create(self, manifest: Object) -> Object:
        """Make a Job."""
        return self.rest.request("POST", f"{_JOBS}/{self.name}/jobs", manifest)

    def job(self, name: str) -> Object | None:
        """A Job, None if it is not there."""
        return self._found(f"{_JOBS}/{self.name}/jobs/{name}")

    def delete(self, name: str) -> None:
        """Delete a Job."""
        self.rest.request("DELETE", f"{_JOBS}/{self.name}/jobs/{name}", {"propagationPolicy": "Background"})

    def jobs(self) -> list[Object]:
        """All Jobs."""
        found: list[Object] = self.rest.request("GET", f"{_JOBS}/{self.name}/jobs")["items"]
        return found

    def pods(self, job: str | None = None) -> list[Object]:
        """All pods, or those of one Job."""
        query = "" if job is None else f"?{urlencode({'labelSelector': f'batch.kubernetes.io/job-name={job}'})}"
        found: list[Object] = self.rest.request("GET", f"{self.path}/pods{query}")["items"]
        return found

    def pod(self, job: str, holds: Callable[[Object], bool] = lambda pod: True) -> Object:
        """The pod of a Job, once there is one for which `holds`."""
        return until(f"a pod of {job} as wanted", lambda: next((pod for pod in self.pods(job) if holds(pod)), None))

    def running(self, job: str) -> Object:
        """The pod of a Job, once it runs."""
        return self.pod(job, lambda pod: pod["status"].get("phase") == "Running")

    def ended(self, job: str) -> str:
        """`Complete` or the reason of a Job's failure, once it has ended."""

        def look() -> str | None:
            found = self.job(job)
            for condition in (found or {}).get("status", {}).get("conditions", []):
                if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
                    return "Complete" if condition["type"] == "Complete" else str(condition["reason"])
            return None

        return until(f"the end of {job}", look)

    def log(self, pod: Object, **query: str) -> str:
        """The log of a pod's only container."""
        path = f"{self.path}/pods/{pod['metadata']['name']}/log"
        return self.rest.text("GET", f"{path}?{urlencode(query)}")

    def event(self, name: str, reason: str) -> Object:
        """An event about an object, once there is one of that reason."""
        path = f"{self.path}/events?{urlencode({'fieldSelector': f'involvedObject.name={name},reason={reason}'})}"
        return until(f"an event {reason} of {name}", lambda: next(iter(self.rest.request("GET", path)["items"]), None))

    def fault(self, pod: Object, fault: str) -> None:
        """Have a fault happen to a pod."""
        patch = {"metadata": {"annotations": {faults.FAULT: fault}}}
        path = f"{self.path}/pods/{pod['metadata']['name']}"
        self.rest.request("PATCH", path, patch, kind="application/merge-patch+json")

    def use_up(self, what: str) -> None:
        """Let in no more of `what`, `pods` or `count/jobs.batch`; returns once the API server keeps to that.

        It learns of a quota as everybody does, by a watch: what is asked for before passes.
        """
        quota = {"metadata": {"name": _QUOTA}, "spec": {"hard": {what: "0"}}}
        self.rest.request("POST", f"{self.path}/resourcequotas", quota)
        until(f"the quota on {what} is kept", lambda: not self._lets_in(what))

    def make_room(self, what: str) -> None:
        """Take that back; returns once the API server has heard of it."""
        self.rest.request("DELETE", f"{self.path}/resourcequotas/{_QUOTA}")
        until(f"the quota on {what} is gone", lambda: self._lets_in(what))

    def _lets_in(self, what: str) -> bool:
        probe = job("probe", shell("true"))
        if what == "pods":
            path, probe = f"{self.path}/pods", {"metadata": probe["metadata"], **probe["spec"]["template"]}
        else:
            path = f"{_JOBS}/{self.name}/jobs"
        try:
            self.rest.request("POST", f"{path}?dryRun=All", probe)
        except ApiError as error:
            if f"exceeded quota: {_QUOTA}" in error.message:
                return False
            raise
        return True

    def _found(self, path: str) -> Object | None:
        try:
            return self.rest.request("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise


def terminated(pod: Object) -> Object:
    """How a pod's only container ended."""
    (status,) = pod["status"]["containerStatuses"]
    found: Object = status["state"]["terminated"]
    return found
