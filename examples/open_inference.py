"""Asks a server by the Open Inference Protocol, with the client of Triton.

    pip install 'tritonclient[http]'
    python examples/open_inference.py 127.0.0.1:3000 cifar10-fast serving/sample.jpg

Prints the class of each picture and its probability.
"""

import sys
from pathlib import Path

import numpy as np
import tritonclient.http as triton


def main(address: str, model: str, *files: str) -> None:
    """Send the files as they are, whatever their sizes, in one request."""
    pictures = np.array([Path(file).read_bytes() for file in files], dtype=object)
    tensor = triton.InferInput("images", [len(pictures)], "BYTES")
    tensor.set_data_from_numpy(pictures)
    answer = triton.InferenceServerClient(address).infer(model, [tensor])
    classes, shares = answer.as_numpy("class"), answer.as_numpy("probabilities")
    for file, label, row in zip(files, classes, shares, strict=True):
        print(f"{file}: {label.decode()} ({row.max():.2f})")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
