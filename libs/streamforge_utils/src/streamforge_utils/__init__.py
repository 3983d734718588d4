"""What every service of StreamForge shares: messages, ports, adapters and the run of a worker."""
