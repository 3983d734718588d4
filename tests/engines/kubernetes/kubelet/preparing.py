"""What has to be there before a pod can start: volumes, images, values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.engines.kubernetes.kubelet import faults, images
from tests.engines.kubernetes.kubelet.container import Container, Prepared
from tests.engines.kubernetes.kubelet.environment import environment
from tests.engines.kubernetes.kubelet.sources import SourceMissing
from tests.engines.kubernetes.kubelet.volumes import Volumes
from tests.engines.kubernetes.rest import Object

if TYPE_CHECKING:
    from tests.engines.kubernetes.kubelet.runner import Host


class Trouble(Exception):
    """Why it cannot start yet. reason: the containers'; event: what people are told; later: the reason from then on."""

    def __init__(self, reason: str, told: str, event: str, containers: Sequence[str], later: str = "") -> None:
        super().__init__(f"{reason}: {told}")
        self.reason = reason
        self.told = told
        self.event = event
        self.containers = tuple(containers)
        self._later = later

    @property
    def again(self) -> Trouble:
        """The same, once it was tried before."""
        if not self._later:
            return self
        told = f"Back-off pulling image: {self.reason}: {self.told}"
        return Trouble(self._later, told, "BackOff", self.containers)


class Preparing:
    """Prepares the containers of one pod."""

    def __init__(self, host: Host, folder: Path) -> None:
        self._host = host
        self._folder = folder
        disk = Path(host.plan.folder) / "disk"
        self._volumes = Volumes(host.api, host.sources, folder, host.plan.host, disk)

    async def prepare(self, pod: Object, containers: Sequence[Container]) -> None:
        """Give every container what it needs. Raises Trouble, ApiError, or one of `api.UNREACHABLE`."""
        try:
            await self._volumes.make(pod)
        except SourceMissing as error:
            told = f"MountVolume.SetUp failed: {error}"
            raise Trouble("ContainerCreating", told, "FailedMount", ()) from error
        for container in containers:
            container.prepared = await self._prepared(pod, container)

    async def _prepared(self, pod: Object, container: Container) -> Prepared:
        name = container.spec["image"]
        try:
            if faults.annotation(pod, faults.FAULT) == faults.IMAGE:
                raise images.ImageMissing(f"{name}: not found")
            image = images.find(name, has_command="command" in container.spec, real=self._host.plan.images)
        except images.ImageMissing as error:
            told = f'Failed to pull image "{name}": failed to resolve reference: {error}'
            raise Trouble("ErrImagePull", told, "Failed", [container.name], faults.IMAGE) from error
        try:
            values = await environment(pod, container.spec, self._host.sources, self._host.plan.host)
        except SourceMissing as error:
            raise Trouble("CreateContainerConfigError", str(error), "Failed", [container.name]) from error
        return Prepared(image, self._volumes.mount(container.spec), values)
