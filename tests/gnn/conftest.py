"""Tests that need torch: they run in an environment of their own (`make test-gnn`), and fail without it."""

from __future__ import annotations

import os

# Before torch is loaded: two threads on a busy machine take many times as long as one.
os.environ["OMP_NUM_THREADS"] = "1"
