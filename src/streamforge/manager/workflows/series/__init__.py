"""What workflows that load a series, past or live, have in common."""
