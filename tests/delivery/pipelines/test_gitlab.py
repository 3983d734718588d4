"""GitLab's pipeline: valid by GitLab's schema, and with the jobs that it promises once it is written out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.delivery.pipelines.checkout import Checkout
from tests.delivery.pipelines.documents import errors, load
from tests.places import ROOT

TEMPLATE = ROOT / ".gitlab" / "ci-templates" / "Python-Service.gitlab-ci.yml"
COMPONENT = ROOT / "templates" / "python-service" / "template.yml"
FILES = [ROOT / ".gitlab-ci.yml", TEMPLATE, COMPONENT, *sorted(ROOT.glob("services/*/.gitlab-ci.yml"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_pipeline_is_valid_by_gitlabs_schema(path: Path) -> None:
    for document in load(path):
        assert errors(document, "gitlab-ci") == []


def test_the_schema_refuses_what_gitlab_does() -> None:
    """The schema is really applied."""
    assert errors({"job": {"script": ["true"], "rules": [{"changed": ["a"]}]}}, "gitlab-ci") != []


def test_every_service_has_a_pipeline_of_a_few_lines(services: list[str]) -> None:
    for service in services:
        text = (ROOT / "services" / service / ".gitlab-ci.yml").read_text("utf-8")
        assert len(text.splitlines()) <= 25, service
        for extended in (".test_python_service", ".build_python_service", ".deploy_service"):
            assert extended in text, f"{service} does not extend {extended}"
        assert "script:" not in text, f"{service} has commands of its own"


def test_written_out_each_service_is_tested_built_and_deployed(repository: Checkout, services: list[str]) -> None:
    pipeline = repository.preview()
    for service in services:
        tested, built, deployed = (pipeline[f"{verb} {service}"] for verb in ("test", "build", "deploy"))
        assert [job["stage"] for job in (tested, built, deployed)] == ["test", "build", "deploy"]
        assert {job["variables"]["SERVICE"] for job in (tested, built, deployed)} == {service}
        assert [need["job"] for need in built["needs"]] == [f"test {service}"]
        assert [need["job"] for need in deployed["needs"]] == [f"build {service}"]
        assert [rule["when"] for rule in deployed["rules"]] == ["manual"]


def test_an_image_is_built_by_kaniko_from_the_root_with_a_cache_of_layers(repository: Checkout) -> None:
    built = repository.preview()["build arango-candles"]
    (script,) = built["script"]
    assert "$BUILDER_IMAGE" in str(built["image"])
    for words in (
        '/kaniko/executor --context "$CI_PROJECT_DIR" --dockerfile "$CI_PROJECT_DIR/$DOCKERFILE"',
        '--cache=true --cache-repo "$CI_REGISTRY_IMAGE/cache"',
    ):
        assert words in script
    assert built["variables"]["DOCKERFILE"] == "services/$SERVICE/Dockerfile"
    assert built["artifacts"]["reports"]["dotenv"] == "image.env"


def test_tests_run_in_the_base_image_and_install_nothing(repository: Checkout, services: list[str]) -> None:
    pipeline = repository.preview()
    for service in services:
        job = pipeline[f"test {service}"]
        assert "$BASE_IMAGE" in str(job["image"])
        words = " ".join([*job.get("before_script", []), *job["script"]])
        assert words.startswith("run-tests ")
        assert not {"pip", "uv", "apt-get", "make", "venv"} & set(words.split())
        for named in job["variables"]["TESTS"].split():
            assert (ROOT / named).exists(), f"{service} is tested by {named}, which does not exist"


def test_names_of_registry_and_images_are_variables_with_defaults(repository: Checkout) -> None:
    (template,) = load(TEMPLATE)
    values = {
        name: value["value"] if isinstance(value, dict) else value for name, value in template["variables"].items()
    }
    assert values["IMAGE_REGISTRY"] == "registry.dmz.home"
    assert values["BASE_IMAGE"] == "$IMAGE_REGISTRY/$BASE_IMAGE_NAME:$BASE_IMAGE_TAG"
    assert values["BASE_IMAGE_NAME"] == "kinga/stream-forge/base"
    everything = "\n".join(path.read_text("utf-8") for path in FILES)
    assert everything.count("registry.dmz.home") == 1
    assert ":latest" not in everything


def test_the_component_makes_the_jobs_of_a_service(repository: Checkout) -> None:
    (repository.folder / "other.gitlab-ci.yml").write_text(
        """
stages: [base, test, build, deploy]
include:
  - component: $CI_SERVER_FQDN/streamforge/streamforge/python-service@$CI_COMMIT_SHA
    inputs:
      service: pricing
      tests: tests/pricing
      changes: [services/pricing/**/*, common/**/*]
"""
    )
    pipeline = repository.preview("--file", "other.gitlab-ci.yml")
    built = pipeline["build pricing"]
    assert built["variables"]["SERVICE"] == "pricing"
    assert built["rules"][-1]["changes"] == ["services/pricing/**/*", "common/**/*"]
    assert pipeline["test pricing"]["variables"]["TESTS"] == "tests/pricing"
    assert [need["job"] for need in pipeline["deploy pricing"]["needs"]] == ["build pricing"]


@pytest.mark.timeout(600)
def test_a_service_is_tested_by_its_job_as_it_is_written(repository: Checkout, tmp_path: Path) -> None:
    """The job's own commands, on a few quick tests, in a shell that has what the base image has."""
    (tmp_path / "run-tests").symlink_to(ROOT / "platform" / "run-tests.sh")
    done = repository.gitlab(
        "--force-shell-executor",
        "--variable",
        "CI_PIPELINE_SOURCE=merge_request_event",
        "--variable",
        "TESTS=tests/workers/test_catalogue.py",
        "test loader-api-candles",
        environment={
            "PATH": f"{tmp_path}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": "",
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS" in done.stdout
    assert " passed" in done.stdout
