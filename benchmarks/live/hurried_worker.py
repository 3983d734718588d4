"""A worker whose pauses between connections are as short as the days of a test exchange on a fast clock.

`python -m benchmarks.live.hurried_worker TARGET`; settings as for `streamforge.workers`.
"""

from __future__ import annotations

import sys

from streamforge.workers.__main__ import main
from streamforge_utils.runtime.live import stream_session

if __name__ == "__main__":
    stream_session.LONGEST_PAUSE_S, stream_session.HEALTHY_S = 1.0, 2.0
    sys.exit(main())
