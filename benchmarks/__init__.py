"""How fast StreamForge is: ratios against the raw client doing the same bytes, and the times that people wait for."""
