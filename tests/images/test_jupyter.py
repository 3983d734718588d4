"""The Jupyter image: what a notebook needs is in it and fits together, and its server serves."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from tests.engines.crun import Asked, Container, run
from tests.engines.kubernetes.jobs import until
from tests.engines.process import free_ports
from tests.images.house import House

FITS = """
from importlib.metadata import distributions, version
from packaging.requirements import Requirement
wrong = []
for found in distributions():
    for asked in map(Requirement, found.requires or ()):
        if asked.marker is None or asked.marker.evaluate({"extra": ""}):
            try:
                fits = asked.specifier.contains(version(asked.name), prereleases=True)
            except Exception as error:
                fits = False
            if not fits:
                wrong.append(f"{found.name}: {asked}")
print(sorted(wrong))
"""


def test_its_packages_fit_together(house: House, tmp_path: Path) -> None:
    assert run(house.root("jupyter"), Asked(entrypoint=["python3.11", "-c", FITS]), tmp_path) == (0, "[]\n")


def test_a_notebook_finds_what_it_needs(house: House, tmp_path: Path) -> None:
    script = """set -e
    python3.11 -c 'import streamforge, streamforge_utils, polars, matplotlib; print(polars.DataFrame({"a": [1]}).shape)'
    kubectl version --client >/dev/null
    helm version >/dev/null
    jupyterhub-singleuser --version
    ls -d /opt/streamforge/notebooks
    cp --version >/dev/null; mkdir --version >/dev/null"""
    settings = {"MPLCONFIGDIR": "/tmp/matplotlib"}
    code, told = run(house.root("jupyter"), Asked(entrypoint=["bash", "-c", script], environment=settings), tmp_path)
    assert code == 0, told
    assert told.splitlines()[0] == "(1, 1)"
    # The chart's hub is a 5.5.
    assert told.splitlines()[1].startswith("5.5.")


def test_its_server_serves_on_a_root_it_cannot_write_to(house: House, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    arguments = ["jupyter", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--IdentityProvider.token=t0ken"]
    asked = Asked(arguments=arguments, environment={"HOME": "/home/someone"}, binds={"/home/someone": home})
    container = Container(house.root("jupyter"), asked, tmp_path / "container")
    try:

        def serves() -> str | None:
            assert container.running, container.log()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token=t0ken", timeout=10) as answer:
                    return str(json.load(answer)["version"])
            except OSError:
                return None

        until("JupyterLab serves", serves, limit_s=120)
    finally:
        container.close()
