"""Asks a server by KServe's client; runs in an environment that has the package `kserve`.

`python kserve_client.py URL MODEL PICTURE` prints what the client gives, as JSON.
"""

import asyncio
import json
import sys
from io import BytesIO
from pathlib import Path

import kserve
import numpy as np
from PIL import Image


async def ask(url: str, model: str, content: bytes) -> dict[str, object]:
    """Send a picture as a file and as pixels, in binary and in JSON."""
    client = kserve.InferenceRESTClient(kserve.inference_client.RESTConfig(protocol="v2"))
    answers: dict[str, object] = {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model": await client.is_model_ready(url, model),
    }
    file = np.array([content], object)
    pixels = np.asarray(Image.open(BytesIO(content)).convert("RGB"))[None]
    kinds = {"file": (file, "BYTES", True), "pixels": (pixels, "UINT8", True)}
    kinds["json"] = (pixels, "UINT8", False)
    for name, (values, datatype, binary) in kinds.items():
        tensor = kserve.InferInput("images", list(values.shape), datatype)
        tensor.set_data_from_numpy(values, binary_data=binary)
        parameters = {"binary_data_output": binary}
        request = kserve.InferRequest(model, [tensor], request_id=name, parameters=parameters)
        response = await client.infer(url, request, model_name=model)
        outputs = {output.name: output.as_numpy() for output in response.outputs}
        label = outputs["class"].tolist()[0]
        answers[name] = {
            "id": response.id,
            "model": response.model_name,
            "class": label.decode() if isinstance(label, bytes) else label,
            "probabilities": outputs["probabilities"].tolist(),
        }
    try:
        await client.infer(url, request, model_name="nobody")
    except Exception as error:  # noqa: BLE001 - what it raises is what is tested
        answers["refusal"] = str(error)
    return answers


if __name__ == "__main__":
    print(json.dumps(asyncio.run(ask(sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_bytes()))))  # noqa: T201
