"""The streamforge command."""
