"""The services of StreamForge."""
