"""The feed of what changes: workflows, batches and schedules, as a list shows them."""
