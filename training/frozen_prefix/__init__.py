"""Computes the frozen layers of a network only once and caches their outputs on disk."""
