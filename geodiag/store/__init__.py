"""The store: runs as Parquet tables, written whole or not at all, read lazily."""
