"""queue-manager whose watches of a cluster begin again at once after a fault, so that no test waits for the pauses."""

from __future__ import annotations

import sys

from streamforge.manager.__main__ import main
from streamforge_utils.adapters.kubernetes import informer

if __name__ == "__main__":
    informer._LONGEST_PAUSE_S = informer._FIRST_PAUSE_S
    sys.exit(main())
