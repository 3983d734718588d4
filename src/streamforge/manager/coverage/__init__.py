"""Coverage: which time ranges of which series are stored, and a verdict for each hole."""
