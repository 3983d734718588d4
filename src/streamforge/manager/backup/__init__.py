"""Backup: a copy of what a store holds, and the way back."""
