"""The Jobs that queue-manager makes with the settings of an overlay, and its environment."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streamforge import wiring
from streamforge.manager.manager_settings import load_manager
from streamforge.manager.running_manager import worker_environment
from streamforge_utils.adapters.kubernetes.manifest import job_manifest
from streamforge_utils.model import names
from streamforge_utils.ports.launcher import JobSpec
from tests.manifests.rules import Json, containers, of_kind

PASSWORD = "from-a-secret"
QUEUE_ID = names.queue_id("BTCUSDT", "api_candles_1m", 1_722_470_400_000, "abc123")


def environment(objects: Sequence[Json]) -> dict[str, str]:
    """What queue-manager's container gets: values, those of ConfigMaps, and `PASSWORD` for each key of a Secret."""
    (deployment,) = of_kind(objects, "Deployment")
    (container,) = containers(deployment["spec"]["template"]["spec"])
    return environment_of(container, objects)


def environment_of(container: Json, objects: Sequence[Json]) -> dict[str, str]:
    """The same of any container whose ConfigMaps are among `objects`."""
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(objects, "ConfigMap")}
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= maps[source["configMapRef"]["name"]]
    for variable in container.get("env", []):
        reference = variable.get("valueFrom", {})
        if "fieldRef" in reference:
            assert reference["fieldRef"]["fieldPath"] == "metadata.namespace"
            found[variable["name"]] = "stf"
        else:
            found[variable["name"]] = PASSWORD if "secretKeyRef" in reference else variable["value"]
    return found


def worker_job(objects: Sequence[Json], target: str = "arango-candles") -> Json:
    """The Job of a step, as the launcher makes it with the settings of the overlay."""
    settings = load_manager(environment(objects))
    template = wiring.make_template(settings.data, settings.launcher.kubernetes)
    topic = names.data_topic(QUEUE_ID)
    own = {
        "QUEUE_ID": QUEUE_ID,
        "SYMBOL": "BTCUSDT",
        "TYPE": "api_candles_1m",
        "TIME_RANGE": "2024-08-01",
        "KAFKA_TOPIC": topic,
        "COLLECTION_NAME": names.collection_name("BTCUSDT", "api_candles_1m", 1_722_470_400_000),
        "STREAMFORGE_UPSTREAM": "loader-api-candles__abc123:1",
    }
    spec = JobSpec(
        name="job-arango-candles-btcusdt-abc123",
        target=target,
        queue_id=QUEUE_ID,
        attempt=1,
        environment={**worker_environment(settings), **own},
    )
    return job_manifest(spec, msgspec.structs.replace(template, instance="queue-manager"))
