"""GitLab's pipeline: valid by GitLab's schema, and with the jobs that it promises once it is written out."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.delivery.pipelines.checkout import Checkout
from tests.delivery.pipelines.tools import errors, load
from tests.places import ROOT
from tools.images import JUPYTER_VERSION, images

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
        assert [need["job"] for need in built["needs"]] == ["check", "ui", f"test {service}"]
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


def test_nothing_is_pushed_that_check_refuses(repository: Checkout) -> None:
    """A job with `needs` waits for those alone; every job that pushes waits for `check`, itself or by what it needs."""
    pipeline = repository.preview()
    pushing = {name for name, job in pipeline.items() if name.startswith("build ")}
    assert len(pushing) >= 8
    for name in pushing:
        assert "check" in {need["job"] for need in pipeline[name]["needs"]}, f"{name} does not wait for check"


def test_an_image_waits_for_both_bases_that_it_may_be_built_on(repository: Checkout) -> None:
    pipeline = repository.preview()
    for name, job in pipeline.items():
        verb, _, built = name.partition(" ")
        if verb != "build" or built in ("base", "lean base"):
            continue
        needs = [job, pipeline.get(f"test {built}", {})]
        bases = {need["job"] for one in needs for need in one.get("needs", []) if need.get("optional")}
        assert bases == {"build base", "build lean base"}, name


def test_pipelines_build_every_image_that_make_images_does(repository: Checkout) -> None:
    """Under the same names; services and base are held by other tests too."""
    pipeline = repository.preview(CI_COMMIT_TAG="v1.2.3")
    values = {"$IMAGE_REGISTRY/": "", "$IMAGE_NAMESPACE": "streamforge", "$BASE_IMAGE_NAME": "kinga/stream-forge/base"}
    found = set()
    for name, job in pipeline.items():
        if name.startswith("build "):
            image = job["variables"]["IMAGE"].replace("$SERVICE", job["variables"].get("SERVICE", ""))
            for variable, value in values.items():
                image = image.replace(variable, value)
            found.add((image, job["variables"]["DOCKERFILE"].replace("$SERVICE", job["variables"].get("SERVICE", ""))))
    assert found == {(image.repository, image.dockerfile) for image in images()}
    assert pipeline["build jupyter"]["rules"][0]["variables"]["MORE_TAGS"] == JUPYTER_VERSION


def test_an_image_that_holds_the_wheel_gets_the_web_ui(repository: Checkout) -> None:
    """Git does not have it: an image that is built of the checkout alone would say that it is not built."""
    pipeline = repository.preview()
    assert pipeline["ui"]["script"] == ["make ui"]
    assert pipeline["ui"]["artifacts"]["paths"] == ["src/streamforge/web/dist"]
    given = set()
    for name, job in pipeline.items():
        if name.startswith("build "):
            dockerfile = job["variables"]["DOCKERFILE"].replace("$SERVICE", job["variables"].get("SERVICE", ""))
            needs = {need["job"] for need in job["needs"] if need.get("artifacts", True)}
            wheel = re.search(r"^COPY src ", (ROOT / dockerfile).read_text("utf-8"), re.MULTILINE) is not None
            assert ("ui" in needs) is wheel, name
            given |= {name} if wheel else set()
    assert {"build queue-manager", "build debug", "build jupyter"} <= given


def logins(repository: Checkout, tmp_path: Path, **variables: str) -> dict[str, dict[str, str]]:
    """The logins that a build has, by registry, as its own commands write them."""
    (command,) = repository.preview()["build arango-candles"]["before_script"]
    project = tmp_path / "project"
    environment = {"PATH": os.defpath, "CI_PROJECT_DIR": str(project), **variables}
    done = subprocess.run(
        ["sh", "-c", command], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    file = Path(f"{project}.auth") / "config.json"
    assert file.parent.stat().st_mode & 0o777 == 0o700
    found = json.loads(file.read_text("utf-8"))["auths"]
    assert isinstance(found, dict)
    return found


OWN = {"CI_REGISTRY": "gitlab.example:5050", "CI_REGISTRY_USER": "job", "CI_REGISTRY_PASSWORD": "p"}
OWN_LOGIN = {"gitlab.example:5050": {"auth": base64.b64encode(b"job:p").decode()}}
HOUSE_LOGIN = {"registry.dmz.home": {"auth": "aG91c2U6eA=="}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        (OWN, OWN_LOGIN),
        ({"DOCKER_AUTH_CONFIG": json.dumps({"auths": HOUSE_LOGIN}, indent=2)}, HOUSE_LOGIN),
        ({"DOCKER_AUTH_CONFIG": json.dumps({"auths": HOUSE_LOGIN}), **OWN}, {**HOUSE_LOGIN, **OWN_LOGIN}),
        ({"DOCKER_AUTH_CONFIG": '{"auths": {}}', **OWN}, OWN_LOGIN),
        ({"DOCKER_AUTH_CONFIG": '{"credsStore": "x"}', **OWN}, OWN_LOGIN),
        (
            {"DOCKER_AUTH_CONFIG": json.dumps({"auths": {OWN["CI_REGISTRY"]: {"auth": "bWluZQ=="}}}), **OWN},
            {OWN["CI_REGISTRY"]: {"auth": "bWluZQ=="}},
        ),
    ],
)
def test_a_build_is_logged_in_at_both_registries(
    given: dict[str, str], expected: dict[str, dict[str, str]], repository: Checkout, tmp_path: Path
) -> None:
    assert logins(repository, tmp_path, **given) == expected


def test_the_logins_may_be_a_file(repository: Checkout, tmp_path: Path) -> None:
    file = tmp_path / "logins"
    file.write_text(json.dumps({"auths": HOUSE_LOGIN}, indent=2))
    assert logins(repository, tmp_path, DOCKER_AUTH_CONFIG=str(file), **OWN) == {**HOUSE_LOGIN, **OWN_LOGIN}


@pytest.mark.parametrize("own", ["", "gitlab.example:5050/streamforge"])
def test_buildah_builds_in_a_pod_with_a_cache_of_layers(own: str, repository: Checkout, tmp_path: Path) -> None:
    """What it is told; GitLab names no registry of its own where it has none."""
    job = repository.preview()["build arango-candles"]
    assert {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}.items() <= job["variables"].items()
    program, told = tmp_path / "buildah", tmp_path / "told"
    program.write_text(f'#!/bin/sh\necho "$@" >>{told}\necho sha256:1 >{tmp_path}/digest\n')
    program.chmod(0o755)
    environment = {
        "BUILD_ARGS": "A=1",
        "CI_COMMIT_SHA": "0123456789",
        "CI_COMMIT_SHORT_SHA": "01234567",
        "CI_COMMIT_TAG": "v1.2.3",
        "CI_COMMIT_TIMESTAMP": "2026-01-01T00:00:00Z",
        "CI_PROJECT_DIR": str(tmp_path),
        "CI_PROJECT_URL": "https://gitlab.example/streamforge",
        "DOCKERFILE": "Dockerfile",
        "IMAGE": "registry.dmz.home/streamforge/a",
        "IMAGE_NAMESPACE": "streamforge",
        "IMAGE_REGISTRY": "registry.dmz.home",
        "MORE_TAGS": "",
        "PATH": f"{tmp_path}:{os.defpath}",
        "TAG_SUFFIX": "",
        "TARGET": "",
        **({"CI_REGISTRY_IMAGE": own} if own else {}),
    }
    subprocess.run(["sh", "-c", *job["script"]], cwd=tmp_path, env=environment, check=True, timeout=60)
    built, *pushed = told.read_text("utf-8").splitlines()
    cache = f"{own or 'registry.dmz.home/streamforge'}/cache"
    assert f"--layers --cache-from {cache} --cache-to {cache}" in built
    assert "VERSION=1.2.3 --build-arg SOURCE=https://gitlab.example/streamforge " in built
    names = [line.split()[-1] for line in pushed]
    assert names == [f"docker://registry.dmz.home/streamforge/a:{tag}" for tag in ("01234567", "v1.2.3")]
    assert (tmp_path / "image.env").read_text("utf-8") == "IMAGE_REFERENCE=registry.dmz.home/streamforge/a@sha256:1\n"


def test_every_image_tells_what_it_holds(repository: Checkout) -> None:
    pipeline = repository.preview()
    for name, job in pipeline.items():
        verb, _, built = name.partition(" ")
        if verb != "build":
            continue
        inventory = pipeline[f"inventory {built}"]
        assert inventory["variables"]["TAG_SUFFIX"] == job["variables"]["TAG_SUFFIX"]
        assert [need["job"] for need in inventory["needs"]] == [name]
        assert inventory["variables"]["IMAGE"] == job["variables"]["IMAGE"]
        assert inventory["rules"] == job["rules"]
        assert "$IMAGE:$CI_COMMIT_SHORT_SHA" in str(inventory["image"])


def test_an_inventory_is_written_by_the_jobs_own_commands(repository: Checkout, tmp_path: Path) -> None:
    """Here by this machine's Python, which knows other packages."""
    job = repository.preview()["inventory dummy-service"]
    assert job["artifacts"]["reports"] == {"cyclonedx": "$INVENTORY"}
    names = {"CI_COMMIT_TIMESTAMP": "2026-01-01T02:00:00+02:00", "CI_COMMIT_SHORT_SHA": "01234567", "TAG_SUFFIX": ""}
    environment = {**os.environ, **names, "IMAGE": "registry.dmz.home/a", "INVENTORY": str(tmp_path / "a.cdx.json")}
    script = "\n".join(["set -eu", *job["script"]])
    subprocess.run(["bash", "-c", script], cwd=ROOT, env=environment, check=True, timeout=120)
    found = json.loads((tmp_path / "a.cdx.json").read_text("utf-8"))
    assert found["metadata"]["timestamp"] == "2026-01-01T00:00:00+00:00"
    assert found["metadata"]["component"]["version"] == "01234567"
    assert found["components"]


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
