"""The run of a worker: its settings, its parts, its commands, and how it ends."""
