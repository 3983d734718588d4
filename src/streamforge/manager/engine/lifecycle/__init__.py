"""What should happen next to a workflow: pure functions of its document, the time and the events."""
