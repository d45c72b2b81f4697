"""Errors raised on purpose. A message is one line: what was wrong, what is accepted, what to do."""


class VitrineError(Exception):
    """Base of every error that a user can mend; command lines print it and exit with 1."""


class ArtifactError(VitrineError):
    """An artifact, or an ONNX file offered as one, breaks the contract."""


class DataError(VitrineError):
    """A data set is missing, incomplete or not what its name says."""
