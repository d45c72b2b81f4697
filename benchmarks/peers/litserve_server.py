"""A plain LitServe server, written as its documentation suggests.

python -m benchmarks.peers.litserve_server PORT WORKERS
"""

import sys
from typing import Any

import litserve as ls
import numpy as np
from fastapi import Request
from PIL import Image

from benchmarks.peers.model import BATCH, decode, load, top


class Peer(ls.LitAPI):  # type: ignore[misc]  # litserve ships no types
    """An API with one model."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Open the model, once in each worker."""
        self.session = load()

    def decode_request(self, request: Request) -> list[Any]:
        """Decode the pictures of a request; LitServe passes the form if `Request` is declared."""
        form: Any = request
        return [decode(Image.open(part.file)) for part in form.getlist("image")]

    def predict(self, pictures: Any) -> Any:
        """Return the logits of the pictures of a request."""
        return [self.session.run(["logits"], {"images": p[None]})[0][0] for p in pictures]

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Return the most probable classes of each picture."""
        return {"pictures": [top(np.asarray(row)) for row in output]}


class BatchingPeer(Peer):
    """The same with batches, for requests of one picture; LitServe joins them with `np.stack`."""

    def decode_request(self, request: Request) -> Any:
        """Decode the picture of a request."""
        (picture,) = super().decode_request(request)
        return picture

    def predict(self, pictures: Any) -> Any:
        """Return the logits of the pictures of several requests, N x C."""
        return self.session.run(["logits"], {"images": np.asarray(pictures)})[0]

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Return the most probable classes of the picture."""
        return {"pictures": [top(np.asarray(output))]}


def peer() -> Peer:
    """Return the API that `BENCHMARK_BATCH` asks for."""
    if not BATCH:
        return Peer(api_path="/classify")
    return BatchingPeer(api_path="/classify", max_batch_size=BATCH, batch_timeout=0.002)


if __name__ == "__main__":
    server = ls.LitServer(peer(), accelerator="cpu", workers_per_device=int(sys.argv[2]))
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), log_level="error", generate_client_file=False
    )
