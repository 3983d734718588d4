"""What the store on ArangoDB costs."""
