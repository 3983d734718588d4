"""What a worker stands on: its life, input and output, sinks, loaders of history and of streams, telemetry."""
