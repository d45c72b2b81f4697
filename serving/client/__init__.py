"""The typed clients: ask a running server, or open artifacts in process; the answers are the same.

predictor = connect("http://127.0.0.1:3000")  # connect(None) opens artifacts in process
answer = predictor.classify("cifar10-gap", [Path("frog.png").read_bytes()])
print(answer.pictures[0].top[0].label)
"""

from serving.client.async_client import AsyncClient
from serving.client.face_client import FaceClient
from serving.client.http_client import Client
from serving.client.in_process import LocalPredictor
from serving.client.predictor import Predictor
from serving.settings import read_settings

__all__ = ["AsyncClient", "Client", "FaceClient", "LocalPredictor", "Predictor", "connect"]


def connect(url: str | None = None, key: str | None = None) -> Predictor:
    """Return what answers: the server at `url` or, without one, the artifacts of this machine.

    Args:
        url: such as http://127.0.0.1:3000.
        key: the API key to send, where the server wants one; by default that of `VITRINE_KEY`.
    """
    if url is None:
        return LocalPredictor()
    return Client(url, key or read_settings().key)
