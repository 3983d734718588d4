"""Graphs of assets, and models on them, made of stored series."""
