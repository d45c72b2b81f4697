"""Code that all peers share: loading the model, decoding pictures, and making answers.

Environment variables configure it. `BENCHMARK_MODEL` is the path of an ONNX graph (uint8
N x H x W x 3 in, logits out), `BENCHMARK_SIZE` the width and height of its pictures (empty: any
size), and `BENCHMARK_THREADS` the number of ONNX Runtime threads within one call (0: its default).
`BENCHMARK_PROVIDER` is the execution provider with its options as JSON, and `BENCHMARK_BATCH` the
number of pictures that a server which can batch runs together (0: one by one).
"""

import json
import os
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from PIL import Image

TOP = 5
BATCH = int(os.environ.get("BENCHMARK_BATCH") or 0)
CPU = "CPUExecutionProvider"


def load() -> Any:
    """Return an ONNX Runtime session with default options, except the number of threads.

    Raises:
        RuntimeError: the provider that was asked for does not run here.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("BENCHMARK_THREADS") or 0)
    name, settings = json.loads(os.environ.get("BENCHMARK_PROVIDER") or f'["{CPU}", {{}}]')
    if name != CPU:
        ort.preload_dlls()
    providers = [(name, settings), *([] if name == CPU else [CPU])]
    session = ort.InferenceSession(os.environ["BENCHMARK_MODEL"], options, providers=providers)
    if session.get_providers()[0] != name:
        raise RuntimeError(f"{name} does not run here; ONNX Runtime chose another provider")
    return session


def decode(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return a picture as uint8 H x W x 3 RGB, in the size that the graph takes."""
    size = os.environ.get("BENCHMARK_SIZE")
    image = image.convert("RGB")
    if size and image.size != (int(size), int(size)):
        image = image.resize((int(size), int(size)), Image.Resampling.BICUBIC)
    return np.asarray(image)


def top(logits: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Return the indices of the most probable of C classes, and their probabilities."""
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    best = np.argsort(-shares)[:TOP]
    return {"top": [{"class": int(i), "probability": float(shares[i])} for i in best]}
