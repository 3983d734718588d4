"""The end-to-end, fault and kill tests once more, on another bus or store.

A module of such a folder takes a module of `tests/e2e` or `tests/chaos` over; if it has `is_sampled`, only the tests of
which that is true, because for that bus or store the others would say the same once more. If it has `QUICK`, the tests
that are not named there, which ask less of that bus or store, are run by `make test-long` only.
"""

from __future__ import annotations

from pathlib import Path

import pytest

LIMIT_S = 600
"""Of a test that names none: with a first one the server starts."""


def choose(folder: Path, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose of `folder`, and give what is chosen the time that it needs on a server."""
    left_out: list[pytest.Item] = []
    for item in items:
        if not isinstance(item, pytest.Function) or item.path.parent != folder:
            continue
        if not getattr(item.module, "is_sampled", lambda item: True)(item):
            left_out.append(item)
            continue
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LIMIT_S))
        if item.originalname not in getattr(item.module, "QUICK", {item.originalname}):
            item.add_marker(pytest.mark.long)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
