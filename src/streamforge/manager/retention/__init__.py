"""Retention and removal: what is kept for how long, and what is removed when."""
