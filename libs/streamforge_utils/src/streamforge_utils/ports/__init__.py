"""The small protocols that services use: bus, store, launcher, exchange."""
