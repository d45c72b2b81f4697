"""Exceptions of the project.

A message is one line that says what was wrong, what is accepted and what to do next.
"""


class VitrineError(Exception):
    """Base class of the errors that a user can fix; commands print the message and exit with 1."""


class ArtifactError(VitrineError):
    """An artifact, or an ONNX file that is to become one, violates the contract."""


class DataError(VitrineError):
    """A data set is missing, incomplete, or not the one that its name stands for."""
