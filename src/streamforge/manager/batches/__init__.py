"""Batches: one request for the series of many symbols."""
