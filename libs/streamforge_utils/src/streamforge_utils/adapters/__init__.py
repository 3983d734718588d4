"""One folder per technology behind the ports."""
