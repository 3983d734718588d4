"""queue-manager: HTTP API, catalogue and reconciler."""
