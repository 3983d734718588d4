"""Workflows that make graphs, models and scores of stored series."""
