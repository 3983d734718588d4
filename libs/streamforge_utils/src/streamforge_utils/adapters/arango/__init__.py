"""The store on ArangoDB, over HTTP."""
