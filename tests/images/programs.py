"""Programs that images and their tests need, kept outside the checkout.

kubectl and helm, which the debug and the Jupyter image take from public images, are built from source: kubectl is the
one of the tests' own cluster, helm is built once from its Go module, keyed by its go.mod and go.sum. The registry is
Debian's, unpacked and not installed, since its package starts a service.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

from tests.engines.kubernetes import binaries
from tests.engines.process import cache_folder, fetching
from tests.images.storage import run

_HERE = Path(__file__).parent / "helm"
_COMMAND = "helm.sh/helm/v4/cmd/helm"


def kubectl() -> Path:
    """The path of kubectl. Raises EngineError."""
    return binaries.build() / "kubectl"


def helm_version() -> str:
    """The version that go.mod names, such as `v4.3.1`."""
    found = re.search(r"^\s*(?:require )?helm\.sh/helm/v4 (v\S+)", (_HERE / "go.mod").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def helm_folder() -> Path:
    """Where helm is, or will be once it is built."""
    parts = [*((_HERE / name).read_bytes() for name in ("go.mod", "go.sum")), " ".join(binaries.FLAGS).encode()]
    return cache_folder() / f"helm-{hashlib.sha256(b''.join(parts)).hexdigest()[:16]}"


def helm() -> Path:
    """The path of helm, which is built if it has not been. Raises EngineError."""
    wanted = helm_folder()
    with fetching(wanted) as ours:
        if ours:
            stamp = f"-X helm.sh/helm/v4/internal/version.version={helm_version()}"
            binaries.build_go(wanted, _HERE, [_COMMAND], stamp)
    return wanted / "helm"


def registry() -> Path:
    """The path of a registry for images. Raises ImagesError."""
    wanted = cache_folder() / "docker-registry-debian"
    with fetching(wanted) as ours:
        if ours:
            scratch = wanted.with_name(f"{wanted.name}.building")
            shutil.rmtree(scratch, ignore_errors=True)
            (scratch / "package").mkdir(parents=True)
            run(["env", f"--chdir={scratch / 'package'}", "apt-get", "download", "docker-registry"])
            (package,) = (scratch / "package").glob("*.deb")
            run(["dpkg-deb", "--extract", str(package), str(scratch)])
            scratch.rename(wanted)
    return wanted / "usr" / "bin" / "docker-registry"
