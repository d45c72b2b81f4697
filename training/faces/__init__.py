"""Training, thresholds and figures of face embeddings."""
