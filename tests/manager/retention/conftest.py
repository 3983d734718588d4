from __future__ import annotations

from tests.manager.execution.conftest import world as world
