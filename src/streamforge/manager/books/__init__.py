"""Order books of past moments, and their verification."""
