"""Workflows that load a series as it happens."""
