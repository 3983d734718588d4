"""How long a test waits for what must happen.

Such a limit ends a test that hangs. It must never decide one: on a machine loaded tenfold (`python -m tests.busy`)
everything takes many times longer, so what is asserted is counted in events, calls or virtual time.
"""

from __future__ import annotations

LIMIT_S = 600.0
"""For one wait, and for one process. pytest's own limit for a whole test is longer (`timeout` in pyproject.toml)."""
