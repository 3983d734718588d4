"""A broker for a person: `make kafka`. It prints what to export and ends with Ctrl-C."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.engines.kafka import jars
from tests.engines.kafka.broker import Broker
from tests.engines.process import EngineError


def main() -> int:
    """Run it; 0 after Ctrl-C, 1 if it could not start or ended by itself."""
    parser = argparse.ArgumentParser(prog="make kafka", description=__doc__)
    parser.add_argument("--secured", action="store_true", help="TLS, SCRAM-SHA-512 and ACLs, as in a cluster")
    parser.add_argument("--fetch", action="store_true", help="only see to it that the broker can be started")
    arguments = parser.parse_args()
    try:
        if arguments.fetch:
            jars.java()
            jars.class_path()
            return 0
        with tempfile.TemporaryDirectory(prefix="streamforge-kafka-") as folder:
            return _serve(Broker(Path(folder), secured=arguments.secured, optimized=True))
    except EngineError as error:
        print(f"kafka: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _serve(broker: Broker) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print("kafka: starting", file=sys.stderr)
    broker.start()
    try:
        environment = broker.folder / "environment.sh"
        lines = _exports(broker.environment())
        environment.touch(0o600)
        environment.write_text(lines)
        if broker.secured:
            # The password stays out of the terminal's history.
            print(f"source {shlex.quote(str(environment))}", flush=True)
            print(
                f"kafka: that file holds the administrator's name and password, and {broker.ca_path} the CA's "
                "certificate; `streamforge kafka apply cred-kafka-yaml/` makes the topics and the other users",
                file=sys.stderr,
            )
        else:
            print(lines, end="", flush=True)
        print(f"kafka: serves on {broker.bootstrap}, log in {broker.log_path}; Ctrl-C ends it", file=sys.stderr)
        broker.wait()
        print(f"kafka: the broker ended by itself:\n{broker.log()}", file=sys.stderr)
        return 1
    finally:
        broker.stop()


def _exports(environment: Mapping[str, str]) -> str:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())


if __name__ == "__main__":
    sys.exit(main())
