"""Turns networks that come as files of weights into ONNX graphs."""
