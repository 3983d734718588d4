"""The part of AQL that the recordings and the adapter's own statements use."""
