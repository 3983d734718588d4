"""The bus on SQLite: one file per topic."""
