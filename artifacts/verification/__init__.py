"""Comparing embeddings: pairs of pictures, error rates, thresholds with their intervals."""
