"""Why an engine could not be used: what is missing and how to get it."""

from __future__ import annotations


class EngineError(Exception):
    """A real engine cannot be fetched, started or reached; tests that need it fail with this sentence."""
