"""Drives any workflow: its document, what is decided about it, and the loop. It knows no form of workflow."""
