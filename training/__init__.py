"""Trains recipes into artifacts. Nothing imports this package: what it makes is read from disk."""
