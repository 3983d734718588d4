"""A real JupyterHub with the shipped settings: a user logs in, and gets a server that is as the settings say.

Hub, spawner, culler, proxy and the user's server are the real ones, the API server too. Pods are processes of this
machine, so what a node does with UID, groups and network rules is not part of it.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from tests.engines.jupyterhub import chart
from tests.engines.jupyterhub.hub import HUB_ENV, USER_ENV, Hub, account
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.kubelet.plan import NodePlan
from tests.engines.kubernetes.parts import HOST
from tests.engines.kubernetes.rest import ApiError, Object, Rest
from tests.engines.kubernetes.test_manifests import may
from tests.manifests.schemas import ROOT

PODS = f"/api/v1/namespaces/{chart.NAMESPACE}/pods"
USER = "ada"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with the node of the values, in which the shipped manifests are applied."""
    folder = tmp_path_factory.mktemp("jupyterhub")
    settings = folder / "jupyter"
    settings.mkdir()
    # Pods are processes of the user who runs the tests, root perhaps, whom a Jupyter server refuses by itself.
    (settings / "jupyter_server_config.json").write_text('{"ServerApp": {"allow_root": true}}')
    environment = {
        "PATH": f"{USER_ENV / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "JUPYTER_CONFIG_DIR": str(settings),
    }
    made = Cluster(folder / "cluster", nodes=(NodePlan("k2w-8", {}), NodePlan("node-2", {})), environment=environment)
    made.start()
    try:
        made.kubectl("apply", "-k", str(ROOT / "deploy/cluster"))
        made.kubectl("apply", f"--filename={chart.FOLDER / 'manifests' / 'namespace.yaml'}")
        strict = ("--validate=strict", "--warnings-as-errors")
        made.kubectl("apply", *strict, f"--filename={chart.FOLDER / 'manifests'}")
        yield made
        made.check()
    finally:
        made.stop()


@pytest.fixture(scope="module")
def speaks_for_hubs(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kubeconfig for hubs."""
    return account(cluster, tmp_path_factory.mktemp("account"))


@pytest.fixture(scope="module")
def hub(speaks_for_hubs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The hub with the test environment's values."""
    made = Hub(tmp_path_factory.mktemp("hub"), chart.hub_config(chart.values("values.yaml")), speaks_for_hubs)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def browser(hub: Hub) -> Iterator[httpx.Client]:
    """Somebody who has logged in and whose server is ready."""
    with hub.browser(USER) as client:
        hub.until("the user's server is ready", lambda: hub.api(f"/users/{USER}")["server"])
        yield client


@pytest.fixture(scope="module")
def pod(cluster: Cluster, browser: httpx.Client) -> Object:
    """The pod of that server."""
    (found,) = cluster.admin.request("GET", PODS)["items"]
    return dict(found)


def test_the_hub_is_of_the_charts_version_and_knows_every_setting(hub: Hub, pod: Object) -> None:
    assert re.fullmatch(r"5\.5\.\d+", hub.api("/")["version"])
    assert "not recognized" not in hub.process.log(200_000)


def test_the_pod_is_as_the_values_say_in_a_namespace_of_restricted_pods(cluster: Cluster, pod: Object) -> None:
    assert pod["spec"]["nodeSelector"] == {"kubernetes.io/hostname": "k2w-8"}
    assert pod["spec"]["nodeName"] == "k2w-8"
    (container,) = pod["spec"]["containers"]
    assert container["image"] == "registry.dmz.home/streamforge/core-modules/jupyter-python311:v0.0.2"
    assert container["imagePullPolicy"] == "Always", "each release pushes another library under that tag"
    assert int(container["resources"]["requests"]["memory"]) == 2**30
    assert pod["spec"]["imagePullSecrets"] == [{"name": "regcred"}]

    labels = cluster.admin.request("GET", f"/api/v1/namespaces/{chart.NAMESPACE}")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert container["securityContext"]["runAsUser"] == 1001
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["spec"]["securityContext"]["fsGroup"] == 100
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert "initContainers" not in pod["spec"]


def test_without_what_restricted_asks_for_the_same_pod_stays_out(cluster: Cluster, pod: Object) -> None:
    spec = {name: value for name, value in pod["spec"].items() if name not in ("nodeName", "securityContext")}
    body = {"metadata": {"name": "lax"}, "spec": spec}
    with pytest.raises(ApiError, match="PodSecurity"):
        cluster.admin.request("POST", f"{PODS}?dryRun=All", body)


def test_the_three_volumes_are_the_nodes_by_claims(cluster: Cluster, pod: Object) -> None:
    (container,) = pod["spec"]["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert {path: claims[mounts[path]] for path in ("/home/", "/data/project", "/data/venv")} == {
        "/home/": "jupyter-home",
        "/data/project": "jupyter-project",
        "/data/venv": "jupyter-venv",
    }
    for name in claims.values():
        claim = cluster.admin.request("GET", f"/api/v1/namespaces/{chart.NAMESPACE}/persistentvolumeclaims/{name}")
        volume = cluster.admin.request("GET", f"/api/v1/persistentvolumes/{name}")
        assert (claim["status"]["phase"], volume["status"]["phase"]) == ("Bound", "Bound")
        assert volume["spec"]["local"]["path"].startswith("/srv/jupyterhub/")
        assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
        assert volume["spec"]["capacity"] == claim["spec"]["resources"]["requests"]
    assert not [volume for volume in pod["spec"]["volumes"] if "hostPath" in volume]


def test_the_users_server_answers_through_the_proxy_and_writes_to_the_node(
    cluster: Cluster, browser: httpx.Client
) -> None:
    page = browser.get(f"/user/{USER}/lab")
    assert page.status_code == 200
    assert "jupyter-config-data" in page.text
    token = next(
        cookie.value for cookie in browser.cookies.jar if cookie.name == "_xsrf" and f"/{USER}/" in cookie.path
    )
    path = f"/user/{USER}/api/contents/note.txt"
    body = {"type": "file", "format": "text", "content": "kept"}
    made = browser.put(path, json=body, headers={"X-XSRFToken": str(token)})
    assert made.status_code == 201, made.text
    home = cluster.folder / "pods" / "disk" / "srv" / "jupyterhub" / "home" / USER
    assert (home / "note.txt").read_text() == "kept"


def test_kubectl_in_the_notebook_sees_streamforge_and_no_secret(cluster: Cluster, pod: Object) -> None:
    account = pod["spec"]["serviceAccountName"]
    speaker = Rest(HOST, cluster.ports.api, cluster.pki.ca, token=cluster.accounts.token(chart.NAMESPACE, account))
    for question in ("list pods", "get pods/log", "list jobs.batch", "list events", "get kafkatopics.kafka.strimzi.io"):
        assert may(speaker, question, "stf"), question
    for question in ("get secrets", "list secrets", "create pods/exec", "delete pods", "create jobs.batch"):
        assert not may(speaker, question, "stf"), question
    for question in ("get secrets", "list pods"):
        assert not may(speaker, question, chart.NAMESPACE), question
    mounted = [path["mountPath"] for path in pod["spec"]["containers"][0]["volumeMounts"]]
    assert "/var/run/secrets/kubernetes.io/serviceaccount" in mounted


def test_servers_that_nobody_uses_are_ended(hub: Hub, cluster: Cluster, pod: Object, tmp_path: Path) -> None:
    command = hub.api("/services/jupyterhub-idle-culler")["command"]
    assert {"--timeout=3600", "--cull-every=600"} <= set(command)
    # The same command, for which a second is long.
    brisk = [re.sub(r"--(timeout|cull-every)=\d+", r"--\1=1", word) for word in command]
    brisk[0] = str(HUB_ENV / "bin" / "python")
    with (tmp_path / "culler.log").open("wb") as log:
        culler = subprocess.Popen(
            [*brisk, f"--url={hub.url}/hub/api"],
            env={"JUPYTERHUB_API_TOKEN": hub.token, "PATH": os.environ["PATH"]},
            stdout=log,
            stderr=log,
        )
        try:
            hub.until("the server is gone", lambda: hub.api(f"/users/{USER}")["servers"] == {} or None)
        finally:
            culler.kill()
            culler.wait(10)
    assert cluster.admin.request("GET", PODS)["items"] == []
    # What the user has written is still there.
    assert (cluster.folder / "pods" / "disk" / "srv" / "jupyterhub" / "home" / USER / "note.txt").exists()


def test_production_sends_people_to_the_identity_provider_and_lets_nobody_else_in(
    speaks_for_hubs: Path, tmp_path: Path
) -> None:
    values = chart.values("values.yaml", "values-production.yaml")
    wanted = values["hub"]["config"]["GenericOAuthenticator"]
    secrets = {"OAUTH_CLIENT_SECRET": "of-a-test", "JUPYTERHUB_CRYPT_KEY": "0f" * 32}
    assert values["hub"]["extraEnv"].keys() == secrets.keys()
    production = Hub(tmp_path / "hub", chart.hub_config(values), speaks_for_hubs, **secrets)
    production.start()
    try:
        with httpx.Client(base_url=production.url) as client:
            sent = client.get("/hub/oauth_login")
            where = sent.headers["location"]
            assert sent.status_code == 302
            assert where.startswith(wanted["authorize_url"] + "?")
            asked = dict(parse_qsl(urlsplit(where).query))
            assert asked["client_id"] == wanted["client_id"]
            assert asked["redirect_uri"] == wanted["oauth_callback_url"]
            assert asked["scope"].split() == wanted["scope"]
            client.get("/hub/login")
            form = {"username": USER, "password": "", "_xsrf": client.cookies.get("_xsrf", path="/hub/")}
            assert client.post("/hub/login", data=form).status_code >= 400
        assert production.api("/users") == []
        log = production.process.log(200_000)
        assert "not recognized" not in log
        assert "of-a-test" not in log
        assert (tmp_path / "hub" / "jupyterhub.sqlite").exists(), "it remembers"
    finally:
        production.stop()
