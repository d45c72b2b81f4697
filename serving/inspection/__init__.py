"""Inspection of served models: zeros after activations, feature maps, neighbours, drift."""
