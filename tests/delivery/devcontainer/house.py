"""The devcontainer, built from its Dockerfile by buildah on a Debian 12.

What is Ubuntu's own is left out, and stand-ins are in the place of the programs that come out of their makers' images.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from tests.delivery.pipelines import checkout
from tests.images.storage import DEBIAN, Storage, build_options, run

DEV_UID = 1000
WORKSPACE = "/workspaces/streamforge"
IMAGE = "localhost/streamforge-devcontainer"
MACHINE_CAS = Path("/usr/local/share/ca-certificates")
"""Where a Debian keeps the CAs that its owner has added; packages may be fetched by way of one."""
STAND_INS = {
    "KUBECTL_IMAGE": "bin/kubectl",
    "HELM_IMAGE": "usr/bin/helm",
    "RUNNER_IMAGE": "usr/bin/gitlab-runner",
    "GO_IMAGE": "usr/local/go/bin/go",
}


class Failed(Exception):
    """A command in the container ended with an error; the message holds what it wrote."""


class Devcontainer:
    """A checkout of its own, the image built from it, and a container to run commands in."""

    def __init__(self, ca: str) -> None:
        """ca: the certificate that stands for the house's own."""
        self.storage = Storage(Path(tempfile.mkdtemp(prefix="streamforge-devcontainer-")))
        try:
            self._make(ca)
        except BaseException:
            self.close()
            raise

    def _make(self, ca: str) -> None:
        self.checkout = checkout.make(self.storage.folder / "streamforge").folder
        certificates = self.checkout / ".devcontainer" / "certs"
        (certificates / "house.pem").write_text(ca)
        for path in MACHINE_CAS.rglob("*.crt"):
            shutil.copy(path, certificates / f"machine-{path.name}")
        _leave_out_checkers(self.checkout / "requirements")
        self.told = self._build()
        # As a devcontainer's program has it: the user inside has the number of the one outside.
        run(["chown", "-R", f"{DEV_UID}:{DEV_UID}", str(self.checkout)])
        self.name = self.storage.buildah("from", "--pull-never", IMAGE)

    def _build(self) -> str:
        self.storage.add_debian()
        arguments = [f"BASE_IMAGE={DEBIAN}", "PYTHON_VERSION=system"]
        for argument, place in STAND_INS.items():
            root = self.storage.folder / argument
            program = root / place
            program.parent.mkdir(parents=True)
            program.write_text(f"#!/bin/sh\necho stand-in for {program.name}\n")
            program.chmod(0o755)
            reference = f"localhost/{argument.lower()}"
            self.storage.add_root(reference, root, "/")
            arguments.append(f"{argument}={reference}")
        given = [word for argument in arguments for word in ("--build-arg", argument)]
        options = [*build_options(self.storage.folder), "--pull-never", "--layers=false", *given]
        file = str(self.checkout / ".devcontainer" / "Dockerfile")
        return self.storage.buildah("bud", *options, "--tag", IMAGE, "--file", file, str(self.checkout))

    def run(self, *command: str, user: str = "dev", environment: dict[str, str] | None = None) -> str:
        """What a command prints in the container, in the checkout. Raises Failed with what it wrote to stderr too.

        It is written to files: buildah may be gone before it has passed on the last of it.
        """
        told = Path(tempfile.mkdtemp(dir=self.storage.folder))
        told.chmod(0o777)
        given = [word for name, value in (environment or {}).items() for word in ("--env", f"{name}={value}")]
        mounts = ["--volume", f"{self.checkout}:{WORKSPACE}", "--volume", f"{told}:/told"]
        options = ["--user", user, *mounts, "--workingdir", WORKSPACE, "--network", "host", *given]
        shell = 'code=0; "$@" >/told/out 2>/told/err </dev/null || code=$?; echo $code >/told/code'
        self.storage.buildah("run", *options, self.name, "--", "bash", "-c", shell, "bash", *command)
        out, err, code = ((told / name).read_text(errors="replace").strip() for name in ("out", "err", "code"))
        if code != "0":
            raise Failed(f"{' '.join(command)} ended with {code}:\n{out}\n{err}")
        return out

    def close(self) -> None:
        """Remove all of it."""
        self.storage.close()


def _leave_out_checkers(requirements: Path) -> None:
    """Have `make setup` install what services and their tests need, of the same pins: every suite's setup has all."""
    texts = [(requirements / name).read_text("utf-8") for name in ("base.txt", "test.txt")]
    pins = {re.split("[ ;]", pin)[0]: pin for pin in re.findall(r"^\w.*(?:\n +.*)*\n", "".join(texts), re.MULTILINE)}
    (requirements / "dev.txt").write_text("".join(pins.values()), "utf-8")
