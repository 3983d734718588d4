"""Dead letters: records that could not be stored, and their replay."""
