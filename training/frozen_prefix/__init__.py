"""Computes the layers that do not train once, and keeps what they give on disk."""
