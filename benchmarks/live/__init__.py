"""Workers that load what happens from streams."""
