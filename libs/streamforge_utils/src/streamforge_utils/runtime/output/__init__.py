"""Writing topics and objects: a worker's data topic, dead letters, published objects."""
