"""The fixtures that all tests of the loop share."""

from __future__ import annotations

from tests.manager.execution.conftest import gate, world

__all__ = ["gate", "world"]
