"""A cluster for a person: `make kube`. It prints what to export and ends with Ctrl-C."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.engines.kubernetes import binaries
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.process import EngineError

_LOOK_S = 0.5


def main() -> int:
    """Run it; 0 after Ctrl-C, 1 if it could not start or a part of it ended by itself."""
    parser = argparse.ArgumentParser(prog="make kube", description=__doc__)
    parser.add_argument("--fetch", action="store_true", help="only see to it that the cluster can be started")
    parser.add_argument("--only", choices=binaries.COMMANDS, help="with --fetch: this command alone, without the rest")
    arguments = parser.parse_args()
    try:
        if arguments.fetch:
            if arguments.only:
                binaries.build(commands=[arguments.only])
            else:
                binaries.etcd()
                binaries.build()
            return 0
        with tempfile.TemporaryDirectory(prefix="streamforge-kubernetes-") as folder:
            return _serve(Path(folder))
    except EngineError as error:
        print(f"kubernetes: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _serve(folder: Path) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cluster = Cluster(folder)
    print("kubernetes: starting", file=sys.stderr)
    cluster.start()
    try:
        commands = binaries.folder()
        print(f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}")
        print(f'export PATH={shlex.quote(str(commands))}:"$PATH"', flush=True)
        print(
            f"kubernetes: serves on {cluster.server}, pods are processes of this machine, logs are in {folder}; "
            "Ctrl-C ends it",
            file=sys.stderr,
        )
        while True:
            cluster.check()
            time.sleep(_LOOK_S)
    finally:
        cluster.stop()


if __name__ == "__main__":
    sys.exit(main())
