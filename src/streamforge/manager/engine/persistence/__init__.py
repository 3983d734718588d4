"""What the engine keeps in the store: workflows, their events, bans, connections."""
