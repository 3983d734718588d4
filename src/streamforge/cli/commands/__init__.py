"""The commands: what they are called, what they take, what their help says, and what they do."""
