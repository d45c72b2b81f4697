"""Losses, batches, thresholds, measurements and figures of face embeddings."""
