"""queue-manager without pauses after a fault of its cluster: watches begin again at once, calls are given up soon."""

from __future__ import annotations

import sys

from streamforge.manager.__main__ import main
from streamforge_utils.adapters.kubernetes import api, informer

if __name__ == "__main__":
    informer._LONGEST_PAUSE_S = informer._FIRST_PAUSE_S
    api.PATIENCE_S = 1.0  # type: ignore[misc]
    sys.exit(main())
