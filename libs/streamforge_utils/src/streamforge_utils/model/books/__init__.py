"""Order books that are joined of a snapshot and a stream of diffs, and how far each of them can be trusted. Pure."""
