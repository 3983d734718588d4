"""Bars: what a picture of a series is drawn from, and rollups of it."""
