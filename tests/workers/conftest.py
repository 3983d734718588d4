from __future__ import annotations

from tests.runtime.conftest import rig as rig
