"""Embeds faces: the only path from chips to embeddings, for the server and for calibration."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from artifacts.graph import OUTPUTS
from artifacts.pictures import Picture
from artifacts.runtime import Runtime


def embed_chips(
    runtime: Runtime, chips: Sequence[Picture] | Picture, *, mirrored: bool
) -> npt.NDArray[np.float32]:
    """Return the embeddings of aligned faces, float32 N x D.

    Args:
        runtime: runtime of an embedding.
        chips: N chips, uint8 H x W x 3 each; at least one.
        mirrored: see `artifacts.verification.decision.Verification.mirrored`.
    """
    output = OUTPUTS["embedding"]
    rows = runtime.run(chips, [output])[output]  # (N, D)
    if not mirrored:
        return rows
    others = runtime.run([np.ascontiguousarray(chip[:, ::-1]) for chip in chips], [output])[output]
    means: npt.NDArray[np.float32] = (rows + others) * np.float32(0.5)
    return means
