"""The store on SQLite: documents, edges and states."""
