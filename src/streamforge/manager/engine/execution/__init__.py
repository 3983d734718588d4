"""The loop that drives workflows, and all that it does: launch, stop, tell, wait."""
