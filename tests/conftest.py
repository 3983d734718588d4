"""What all tests share: property tests that a busy machine may take its time for."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("patient", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
