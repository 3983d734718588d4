"""The manager as one user and its workers as another, as Jobs in a cluster have a Secret of their own.

The launcher of processes hands its own settings on; here the workers' user is put in their place. Everything else is
the manager that ships: `python -m tests.engines.kafka.workers_apart`.
"""

from __future__ import annotations

import os
import sys

from streamforge.manager import __main__ as entry
from streamforge.manager import app
from streamforge.manager.settings import ManagerSettings

USER, PASSWORD = "TEST_WORKER_USER", "TEST_WORKER_PASSWORD"


def main() -> int:
    """Run the manager; its exit code."""
    handed_on = app.worker_environment
    user, password = os.environ.pop(USER), os.environ.pop(PASSWORD)

    def apart(settings: ManagerSettings) -> dict[str, str]:
        return {**handed_on(settings), "KAFKA_USER": user, "KAFKA_PASSWORD": password}

    app.worker_environment = apart
    return entry.main()


if __name__ == "__main__":
    sys.exit(main())
