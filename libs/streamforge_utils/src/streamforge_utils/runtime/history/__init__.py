"""Loading history from the exchange's pages and from its archive's files."""
