"""Storing records: the work of sinks, and reading what they stored as segments."""
