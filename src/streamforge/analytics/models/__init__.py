"""Models on graphs of assets: what they predict, how well, and whether the graph adds anything."""
