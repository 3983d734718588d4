"""One file per target: its parameters and its run."""
