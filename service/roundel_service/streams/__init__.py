"""Live delivery: the hub, its user channels and their subscribers."""
