"""The double against recorded answers of real servers: replayed from their setup over HTTP, and compared."""
