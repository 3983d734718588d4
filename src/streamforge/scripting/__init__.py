"""For notebooks and scripts: reading stored series as frames, and loading."""
