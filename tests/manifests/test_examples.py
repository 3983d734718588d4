"""The example manifests of the services: what the launcher would post, and the first generation's Job among them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from streamforge import wiring
from streamforge_utils.adapters.kubernetes.manifest import job_manifest
from streamforge_utils.runtime.life.settings import DataSettings
from tools.reference import example_jobs

ROOT = Path(__file__).parents[2]
EXAMPLES = dict(example_jobs.manifests())
QUEUE = "wf-btcusdt-api_candles_1m-20240801-abc123"


def loaded(path: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / path).read_text("utf-8"))
    return found


def test_every_service_that_is_a_worker_has_one() -> None:
    services = {path.parent.name for path in (ROOT / "services").glob("*/README.md")} - {"queue-manager"}
    assert {path.parts[1] for path in EXAMPLES if path.name == "job.yaml"} == services


@pytest.mark.parametrize("path", EXAMPLES, ids=str)
def test_it_is_as_the_code_makes_it(path: Path) -> None:
    assert (ROOT / path).read_text("utf-8") == EXAMPLES[path], "run `make docs`"


def test_arango_candles_job_is_the_first_generations() -> None:
    job = loaded("services/arango-candles/job.yaml")
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert job["metadata"]["name"] == "job-arango-candles-btcusdt-abc123"
    assert job["metadata"]["namespace"] == "stf"
    assert job["metadata"]["labels"].items() >= {"app": "streamforge", "queue_id": QUEUE}.items()
    assert job["spec"]["ttlSecondsAfterFinished"] == 3600
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["nodeSelector"] == {"streamforge-worker": "true"}
    (container,) = pod["containers"]
    assert container["name"] == "arango-candles"
    assert container["image"].startswith("registry.dmz.home/streamforge/arango-candles:v")
    values = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
    assert (
        values.items()
        >= {
            "QUEUE_ID": QUEUE,
            "SYMBOL": "BTCUSDT",
            "TYPE": "api_candles_1m",
            "KAFKA_TOPIC": f"{QUEUE}-data",
            "COLLECTION_NAME": "btcusdt_api_candles_1m_2024_08_01",
        }.items()
    )
    assert container["envFrom"] == [{"configMapRef": {"name": "streamforge-worker"}}]
    # Other than there: a pod that is replaced behind the manager's back would share its attempt.
    assert job["spec"]["backoffLimit"] == 0


@pytest.mark.parametrize("spec", example_jobs.workflow_jobs(), ids=lambda spec: str(spec.target))
def test_the_launcher_posts_the_same_and_says_that_it_is_its_own(spec: Any) -> None:
    example = loaded(f"services/{spec.target}/job.yaml")
    template = wiring.make_template(DataSettings(), example_jobs.SHIPPED)
    posted = job_manifest(spec, msgspec.structs.replace(template, instance="sf-1"))
    ours = {"app.kubernetes.io/managed-by": "queue-manager", "app.kubernetes.io/instance": "sf-1"}
    for labels in (posted["metadata"]["labels"], posted["spec"]["template"]["metadata"]["labels"]):
        for name, value in ours.items():
            assert labels.pop(name, value) == value
    assert posted == example


def test_a_pod_of_dummy_service_is_its_job_without_the_job() -> None:
    job, pod = loaded("services/dummy-service/job.yaml"), loaded("services/dummy-service/pod.yaml")
    assert pod["kind"] == "Pod"
    assert pod["spec"] == {**job["spec"]["template"]["spec"], "activeDeadlineSeconds": 86400}
    assert "ARANGO" not in str(pod)


def test_a_stale_example_is_found() -> None:
    from tools.reference import reference_pages

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path, text in EXAMPLES.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text + "# by hand\n")
        assert set(EXAMPLES) <= set(reference_pages.stale(root, EXAMPLES))
