"""What every service of StreamForge shares: messages, ports, adapters and the life of a worker."""
