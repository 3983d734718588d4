"""What StreamForge does with a real Kafka broker as its bus, against the raw client and others."""
