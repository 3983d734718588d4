"""Settings, the life of a worker, telemetry, metrics and logs."""
