"""Settings, the run of a worker, telemetry, metrics and logs."""
