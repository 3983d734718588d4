"""The messages and the topics as JSON Schema and AsyncAPI."""
