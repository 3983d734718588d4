"""Workflows that load a past range of a series."""
