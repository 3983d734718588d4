"""The signatures of the commands: what they are called, what they take, and what their help says."""
