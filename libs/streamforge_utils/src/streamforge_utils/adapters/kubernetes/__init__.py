"""The launcher on Kubernetes: one Job per attempt of a step."""
