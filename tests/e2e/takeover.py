"""The end-to-end, fault and kill tests once more, on another bus or store.

A module of such a folder takes a module of `tests/e2e` or `tests/chaos` over; if it has `is_sampled`, only the tests of
which that is true, because for that bus or store the others would say the same once more. If it has `QUICK`, names of
tests, or `is_quick`, the others, which ask less of that bus or store, are run by `make test-long` only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def choose(folder: Path, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose of `folder`."""
    left_out: list[pytest.Item] = []
    for item in items:
        if not isinstance(item, pytest.Function) or item.path.parent != folder:
            continue
        if not getattr(item.module, "is_sampled", lambda item: True)(item):
            left_out.append(item)
            continue
        if not getattr(item.module, "is_quick", _is_named)(item):
            item.add_marker(pytest.mark.long)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def with_parameters(item: pytest.Function) -> bool:
    """Whether it is a case, no test of how many there are; `is_sampled` of a module that takes all cases."""
    return hasattr(item, "callspec")


def _is_named(item: pytest.Function) -> bool:
    return item.originalname in getattr(item.module, "QUICK", {item.originalname})


def chosen_cases(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """The parameters of the tests of this module that are run, in their order: other modules may have the same."""
    items = (item for item in request.session.items if isinstance(item, pytest.Function))
    return [item.callspec.params for item in items if item.module is request.module and with_parameters(item)]
