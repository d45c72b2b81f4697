"""Converts networks that are published as files of weights to ONNX graphs."""
