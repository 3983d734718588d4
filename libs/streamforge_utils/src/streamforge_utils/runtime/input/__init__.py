"""Reading topics: a worker's data topic, topics of others, dead letters."""
