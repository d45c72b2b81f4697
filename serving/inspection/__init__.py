"""Looks inside served models: zeros after activations, feature maps, neighbours, drift."""
