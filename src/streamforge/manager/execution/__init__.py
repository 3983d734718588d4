"""The loop that looks, decides, stores and acts, and the actions themselves."""
