"""Hypercorn on trio, made safe and fast for long streams."""
