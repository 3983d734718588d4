"""Bus, store and launcher for one machine: SQLite files and processes."""
