"""What a worker reports: events, progress, metrics and logs."""
