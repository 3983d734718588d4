"""The families of calls: one module for what lies under one `/_api/<name>`."""
