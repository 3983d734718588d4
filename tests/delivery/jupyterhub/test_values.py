"""The chart's values are what its schema accepts, say what the environment is to be, and hold no secret."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from tests.engines.jupyterhub import chart
from tests.manifests.rules import Json, mistaken, of_kind, selected
from tests.manifests.schemas import ROOT, schemas_folder
from tools import manifests

OURS: Json = yaml.safe_load((chart.FOLDER / "values.yaml").read_text("utf-8"))
OBJECTS = [
    one
    for path in sorted((chart.FOLDER / "manifests").glob("*.yaml"))
    for one in manifests.objects(path.read_text("utf-8"), path.name)
]


@pytest.fixture(scope="module")
def of_test() -> Json:
    """The test environment's values on top of the chart's; nobody changes them."""
    return chart.values("values.yaml")


@pytest.fixture(scope="module")
def of_production() -> Json:
    """The same of production."""
    return chart.values("values.yaml", "values-production.yaml")


def errors(found: Json) -> list[str]:
    schema = yaml.safe_load((schemas_folder() / "jupyterhub/values.schema.yaml").read_text("utf-8"))
    return [f"{error.json_path}: {error.message}" for error in Draft7Validator(schema).iter_errors(found)]


def test_the_values_are_what_the_chart_accepts(of_test: Json, of_production: Json) -> None:
    assert errors(of_test) == []
    assert errors(of_production) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("singleuser.fsGID", 100),
        ("singleuser.uid", "1001"),
        ("hub.db.type", "sqlite"),
        ("cull.timeouts", 3600),
        ("singleuser.storage.extraMounts", []),
        ("ingress.host", "jupyterhub.dmz.home"),
        ("singleuser.memory.guaranteed", "1G"),
    ],
)
def test_a_mistake_is_found(path: str, value: Any, of_test: Json) -> None:
    assert errors(mistaken(of_test, path, value))


def test_the_test_environment_is_as_it_was_laid_down(of_test: Json) -> None:
    """Its users' pods, what they mount and who may come in: tests/engines/jupyterhub, on a real hub."""
    assert of_test["cull"]["enabled"] is True
    assert of_test["hub"]["config"]["JupyterHub"]["authenticator_class"] == "dummy"
    assert of_test["hub"]["db"]["type"] == "sqlite-memory"
    assert of_test["hub"]["nodeSelector"] == {"kubernetes.io/hostname": "k2w-8"}
    assert of_test["ingress"]["enabled"] is True
    assert of_test["ingress"]["hosts"] == ["jupyterhub.dmz.home"]
    assert of_test["ingress"]["tls"] == [{"hosts": ["jupyterhub.dmz.home"], "secretName": "jupyterhub-tls"}]


def test_one_value_names_the_node() -> None:
    texts = [path.read_text("utf-8") for path in chart.FOLDER.rglob("*") if path.suffix in (".yaml", ".ipynb")]
    assert "\n".join(texts).count("k2w-8") == 1


def test_production_asks_who_it_is_and_remembers(of_production: Json) -> None:
    config = of_production["hub"]["config"]
    assert config["JupyterHub"]["authenticator_class"] == "generic-oauth"
    assert config["Authenticator"]["allow_all"] is False
    assert config["GenericOAuthenticator"]["allowed_groups"]
    assert of_production["hub"]["db"]["type"] == "sqlite-pvc"
    callback = f"https://{of_production['ingress']['hosts'][0]}/hub/oauth_callback"
    assert config["GenericOAuthenticator"]["oauth_callback_url"] == callback
    (volume,) = [one for one in of_kind(OBJECTS, "PersistentVolume") if one["metadata"]["name"] == "jupyterhub-db"]
    claim = of_production["hub"]["db"]["pvc"]
    assert selected(claim["selector"], volume["metadata"]["labels"])
    assert claim["storageClassName"] == volume["spec"]["storageClassName"]


def test_no_value_is_a_secret(of_production: Json) -> None:
    for name in ("values.yaml", "values-production.yaml"):
        text = re.sub(r"(?m)#.*$", "", (chart.FOLDER / name).read_text("utf-8"))
        assert not re.search(r"(?i)(client_secret|password|secretToken|api_?token|crypt_?key)\S*: *[^\s{#]", text), name
    assert {"client-secret", "crypt-key"} == {
        one["valueFrom"]["secretKeyRef"]["key"] for one in of_production["hub"]["extraEnv"].values()
    }
    assert "secretKeyRef" in OURS["singleuser"]["extraEnv"]["STREAMFORGE_TOKEN"]["valueFrom"]


def test_what_the_users_may_reach_is_kafka_arangodb_the_api_and_the_api_server(of_test: Json) -> None:
    policy = of_test["singleuser"]["networkPolicy"]
    assert policy["enabled"] is True
    assert policy["egressAllowRules"]["privateIPs"] is False
    assert policy["egressAllowRules"]["cloudMetadataServer"] is False
    ports = sorted(port["port"] for rule in policy["egress"] for port in rule["ports"])
    assert ports == [443, 6443, 8080, 8529, 9093]
    # And queue-manager lets them in, with the labels that the chart gives user pods.
    (rule,) = of_kind(OBJECTS, "NetworkPolicy")
    (source,) = rule["spec"]["ingress"][0]["from"]
    assert selected(source["podSelector"], {"app": "jupyterhub", "component": "singleuser-server"})


def test_no_volume_is_shipped_that_no_server_mounts(of_test: Json) -> None:
    claims = {one["metadata"]["name"] for one in of_kind(OBJECTS, "PersistentVolumeClaim")}
    mounted = of_test["singleuser"]["storage"]["extraVolumes"]
    assert claims == {volume["persistentVolumeClaim"]["claimName"] for volume in mounted}


def test_the_page_says_who_makes_each_secret_that_is_named(of_test: Json, of_production: Json) -> None:
    page = (ROOT / "docs/how-to/jupyterhub.md").read_text("utf-8")
    named = {"regcred", of_test["ingress"]["tls"][0]["secretName"]}
    for variable in (*of_test["singleuser"]["extraEnv"].values(), *of_production["hub"]["extraEnv"].values()):
        if isinstance(variable, dict):
            named.add(variable["valueFrom"]["secretKeyRef"]["name"])
    assert len(named) == 4
    for name in named:
        assert f"\n| `{name}` |" in page, name
