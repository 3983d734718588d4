"""platform/arangodb/ is what kube-arangodb accepts, and where the manager and its workers look for the database."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.manifests.rules import faults, mistaken
from tests.manifests.schemas import ROOT, Json, schema_errors

FOLDER = ROOT / "platform" / "arangodb"
NAMESPACE, DEPLOYMENT = (
    yaml.safe_load((FOLDER / name).read_text("utf-8")) for name in ("namespace.yaml", "arangodb.yaml")
)


def test_each_is_accepted() -> None:
    for one in (NAMESPACE, DEPLOYMENT):
        assert schema_errors(one) == []
        assert faults([one]) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.mode", "Sharded"),
        ("spec.single.resource", {}),
        ("spec.single.securityContext.seccompProfiles", {}),
        ("spec.tls.caSecret", "arangodb-ca"),
        ("spec.externalAccess.type", "Ingress"),
        ("specification", {}),
    ],
)
def test_a_mistake_is_found(path: str, value: Any) -> None:
    assert schema_errors(mistaken(DEPLOYMENT, path, value))


@pytest.mark.parametrize("file", ["queue-manager.env", "workers.env"])
def test_it_answers_where_the_settings_say_and_with_tls(file: str) -> None:
    lines = (ROOT / "deploy" / "base" / file).read_text("utf-8").splitlines()
    (url,) = [urlsplit(line.partition("=")[2]) for line in lines if line.startswith("ARANGO_URL=")]
    metadata: Json = DEPLOYMENT["metadata"]
    assert (url.scheme, url.port) == ("https", 8529)
    assert url.hostname == f"{metadata['name']}.{metadata['namespace']}.svc"
    assert metadata["namespace"] == NAMESPACE["metadata"]["name"]
    assert DEPLOYMENT["spec"]["tls"]["caSecretName"] == "arangodb-ca"
    assert DEPLOYMENT["spec"]["bootstrap"]["passwordSecretNames"]["root"] not in ("None", "")
