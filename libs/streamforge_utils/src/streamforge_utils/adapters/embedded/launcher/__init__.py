"""The launcher on operating-system processes."""
