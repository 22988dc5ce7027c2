"""The Valkey engine: storage that several nodes share."""
