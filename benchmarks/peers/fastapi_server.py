"""A plain FastAPI server around ONNX Runtime, written as its documentation suggests.

uvicorn benchmarks.peers.fastapi_server:app --workers N
"""

from io import BytesIO
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, File
from PIL import Image

from benchmarks.peers.model import decode, load, top

app = FastAPI()
session = load()


@app.post("/classify")
def classify(image: Annotated[list[bytes], File()]) -> dict[str, Any]:
    """Return the most probable classes of each picture."""
    pictures = [decode(Image.open(BytesIO(content))) for content in image]
    rows = [session.run(["logits"], {"images": picture[None]})[0][0] for picture in pictures]
    return {"pictures": [top(np.asarray(row)) for row in rows]}
