"""Records, commands, events, names, time ranges and errors."""
