"""From a request to a model's answer: what every route that answers with one output does."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from starlette.requests import Request

from artifacts.runtime import Picture
from serving.drift import Windows
from serving.entrance import AT_ONCE, admit, run_in
from serving.forms import read_contents
from serving.models import Models, ServedModel
from serving.pictures import decode_pictures, size_of
from serving.scheduler import Scheduler

DECODED_AT_ONCE = 256 * 256
"""Pixels that are decoded between two other requests: of a JPEG less than a millisecond's worth.
More are left to a thread."""


class Answerer:
    """Reads a request's pictures and has a model answer.

    Args:
        pool: where pictures are decoded.
        scheduler: where models answer.
    """

    def __init__(self, pool: ThreadPoolExecutor, scheduler: Scheduler) -> None:
        self._pool = pool
        self._scheduler = scheduler

    async def __call__(
        self, request: Request, model: ServedModel, output: str
    ) -> tuple[list[tuple[int, int]], npt.NDArray[np.float32]]:
        """Sizes (width, height) of the pictures as sent, and rows (N x D) of an output."""
        contents = await read_contents(request)
        opened = await admit(request, contents, model)

        def decode() -> tuple[list[tuple[int, int]], list[Picture]]:
            pictures = decode_pictures(opened)
            return list(map(size_of, pictures)), list(map(model.runtime.prepare, pictures))

        # a thread costs more than a small picture does, unless its file is large for its size
        small = sum(opened.scanned) <= DECODED_AT_ONCE and sum(map(len, contents)) <= AT_ONCE
        sizes, prepared = decode() if small else await run_in(self._pool, decode)
        windows = windows_of(request)
        names = windows.outputs(model, output)
        outputs = await self._scheduler.run(model.runtime, prepared, names)
        windows.add(model, sizes, outputs)
        return sizes, outputs[output]


def models_of(request: Request) -> Models:
    """The models that are served now."""
    models: Models = request.app.state.models
    return models


def windows_of(request: Request) -> Windows:
    """What the server remembers of its last answers."""
    windows: Windows = request.app.state.windows
    return windows
