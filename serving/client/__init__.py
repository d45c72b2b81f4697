"""The typed clients: ask a running server, or open artifacts in process; the answers are the same.

predictor = connect("http://127.0.0.1:3000")  # connect(None) opens artifacts in process
answer = predictor.classify("cifar10-gap", [Path("frog.png").read_bytes()])
print(answer.pictures[0].top[0].label)

with Client("http://127.0.0.1:3000", key="...") as client:  # everything that the server offers
    client.enrol("Ada Lovelace", [Path("ada.png").read_bytes()])
    answer = client.identify([Path("who.png").read_bytes()])
    print(answer.pictures[0].people[0].person)

async with AsyncClient("http://127.0.0.1:3000") as client:  # the same methods, awaited
    answer = await client.classify("cifar10-gap", [Path("frog.png").read_bytes()])
"""

from serving.client.async_client import AsyncClient
from serving.client.in_process import LocalPredictor
from serving.client.predictor import Predictor
from serving.client.sync_client import Client
from serving.feedback.schemas import FeedbackFigures
from serving.settings import read_settings

__all__ = ["AsyncClient", "Client", "FeedbackFigures", "LocalPredictor", "Predictor", "connect"]


def connect(url: str | None = None, key: str | None = None) -> Client | LocalPredictor:
    """Return a predictor: a client of the server at `url`, or without one, the artifacts here.

    Args:
        url: such as http://127.0.0.1:3000.
        key: API key, if the server has keys; by default that in `VITRINE_KEY`.
    """
    if url is None:
        return LocalPredictor()
    return Client(url, key or read_settings().key)
