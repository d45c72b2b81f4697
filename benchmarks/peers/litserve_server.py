"""A plain LitServe server, written as its documentation suggests.

python -m benchmarks.peers.litserve_server PORT WORKERS
"""

import sys
from typing import Any

import litserve as ls
import numpy as np
from fastapi import Request
from PIL import Image

from benchmarks.peers.model import decode, load, top


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


if __name__ == "__main__":
    server = ls.LitServer(
        Peer(api_path="/classify"), accelerator="cpu", workers_per_device=int(sys.argv[2])
    )
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), log_level="error", generate_client_file=False
    )
