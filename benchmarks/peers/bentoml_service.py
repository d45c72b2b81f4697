"""A plain BentoML endpoint for pictures, written as its documentation suggests.

bentoml serve benchmarks.peers.bentoml_service:Peer
"""

import os
from typing import Any

import bentoml
import numpy as np
from PIL.Image import Image

from benchmarks.peers.model import BATCH, decode, load, top


@bentoml.service(
    workers=int(os.environ.get("BENCHMARK_WORKERS") or 1), logging={"access": {"enabled": False}}
)
class Peer:
    """A service with one model."""

    def __init__(self) -> None:
        self.session = load()

    @bentoml.api(batchable=True, max_batch_size=max(2, BATCH))  # type: ignore[untyped-decorator]
    def classify_batch(self, image: list[Image]) -> list[dict[str, Any]]:
        """Return the most probable classes of each picture; BentoML joins those of requests."""
        pictures = np.stack([decode(i) for i in image])
        (rows,) = self.session.run(["logits"], {"images": pictures})
        return [top(np.asarray(row)) for row in rows]

    @bentoml.api  # type: ignore[untyped-decorator]  # bentoml ships no types
    def classify(self, image: list[Image]) -> dict[str, Any]:
        """Return the most probable classes of each picture."""
        rows = [self.session.run(["logits"], {"images": decode(i)[None]})[0][0] for i in image]
        return {"pictures": [top(np.asarray(row)) for row in rows]}
