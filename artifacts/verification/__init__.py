"""Verification by embeddings: pairs of pictures, error rates, and thresholds with intervals."""
