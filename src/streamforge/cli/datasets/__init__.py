"""Parquet data sets: records of series in folders by symbol and day or month."""
