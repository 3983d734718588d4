"""Logs of attempts: read from their launcher, kept when they have ended."""
