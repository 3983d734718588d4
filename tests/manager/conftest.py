from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What the manager logs is kept, not printed: tracebacks take long to draw."""
    with capture_logs():
        yield
