"""Exports: stored records as they are read, and written as JSON or CSV."""
