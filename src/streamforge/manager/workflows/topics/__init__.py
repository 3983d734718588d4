"""Workflows that store a topic of another producer."""
