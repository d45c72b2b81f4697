"""Servers to compare with: each small, as its project's documentation leads one to write it."""
