"""What dummy-service plays, one file per part."""
