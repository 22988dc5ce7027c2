"""The SQLite engine: durable storage in one file, for one machine."""
