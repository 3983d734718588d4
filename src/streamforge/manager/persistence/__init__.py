"""What the manager remembers, on the store and the bus: workflows, coverage, history, dead letters."""
