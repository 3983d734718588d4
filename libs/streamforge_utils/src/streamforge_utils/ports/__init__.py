"""The small protocols that services speak to: bus, store, launcher, exchange."""
