"""The rights and limits of every container of an image, shown in the container itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.engines.crun import Asked, run
from tests.images.house import House

pytestmark = pytest.mark.timeout(900)  # whichever comes first waits for the builds

SERVICES = ("arango-candles", "dummy-service", "loader-api-candles", "queue-manager")
PYTHON_IMAGES = ("base", "base-lean", *SERVICES)

LOOK = """
import errno, json, os, pathlib, shutil

refused = {}
for folder in ("/", "/app", "/opt/streamforge/lib", "/etc", "/usr/bin", "/var"):
    try:
        pathlib.Path(folder, "written").touch()
    except OSError as error:
        refused[folder] = errno.errorcode[error.errno]
pathlib.Path("/tmp/written").touch()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
ours = [path for top in ("/opt", "/app", "/usr/local") for path in pathlib.Path(top).rglob("*")]
compilers = ("cc", "gcc", "g++", "c++", "clang", "ld", "as", "make", "go", "rustc")
print(json.dumps({
    "ids": [os.getuid(), os.getgid(), os.getgroups()],
    "refused": refused,
    "home": os.path.expanduser("~"),
    "first": open("/proc/1/comm").read().strip(),
    "capabilities": status["CapEff"].strip(),
    "new_privileges": status["NoNewPrivs"].strip(),
    "compilers": [name for name in compilers if shutil.which(name)],
    "setuid": [str(path) for path in ours if path.lstat().st_mode & 0o6000],
    "writable": [str(path) for path in ours if not path.is_symlink() and path.stat().st_mode & 0o022],
    "not root's": [str(path) for path in ours if path.lstat().st_uid],
}))
"""


@pytest.mark.parametrize("name", PYTHON_IMAGES)
def test_an_image_runs_as_nobody_special_on_a_root_it_cannot_write_to(name: str, house: House, tmp_path: Path) -> None:
    looking = Asked(entrypoint=["/usr/bin/tini", "--", "python3.11", "-c", LOOK])
    code, told = run(house.root(name), looking, tmp_path)
    assert code == 0, told
    found = json.loads(told)
    assert found == {
        "ids": [1001, 1001, []],
        "refused": dict.fromkeys(("/", "/app", "/opt/streamforge/lib", "/etc", "/usr/bin", "/var"), "EROFS"),
        "home": "/tmp",
        "first": "tini",
        "capabilities": "0000000000000000",
        "new_privileges": "1",
        "compilers": [],
        "setuid": [],
        "writable": [],
        "not root's": [],
    }
    config = house.storage.inspect(house.reference(name))["config"]
    assert config["User"] == "1001:1001", "by number: Kubernetes cannot tell whether a name is root"
    assert config["Entrypoint"][:2] == ["/usr/bin/tini", "--"]


def test_a_service_lives_and_ends_in_its_container(house: House, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o777)
    settings = {"QUEUE_ID": "wf-dummy-api_candles_1m-20240801-abc123", "STREAMFORGE_DATA_DIR": "/data"}
    asked = Asked(arguments=["--noop"], environment=settings, binds={"/data": data})
    code, told = run(house.root("dummy-service"), asked, tmp_path)
    assert code == 0, told
    assert "finished" in told
