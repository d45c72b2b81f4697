"""Enrols the pictures that a CompreFace server keeps, under the same names.

    python examples/from_compreface.py http://127.0.0.1:8000 RECOGNITION_KEY http://127.0.0.1:3000

The key is that of CompreFace's recognition service. If the Vitrine server has keys, `VITRINE_KEY`
holds one with the scope `write`. Pictures that are refused, such as those without a face, are named
with the reason, and the program then ends with status 1.
"""

import sys
from collections.abc import Iterator
from urllib.parse import quote

import httpx

from serving.client import Client
from serving.problems import RequestError
from serving.settings import read_settings

PAGE = 100
"""Pictures on one page of CompreFace's list."""


def listed(compreface: httpx.Client) -> Iterator[tuple[str, str]]:
    """Yield the subject and the id of every picture."""
    page, pages = 0, 1
    while page < pages:
        answer = compreface.get("recognition/faces", params={"page": page, "size": PAGE})
        content = answer.raise_for_status().json()
        for face in content["faces"]:
            yield face["subject"], face["image_id"]
        page, pages = page + 1, content["total_pages"]


def main(source: str, key: str, target: str) -> int:
    """Enrol all pictures; returns how many were refused."""
    refused = 0
    headers = {"x-api-key": key}
    address = f"{source.rstrip('/')}/api/v1/"
    with (
        httpx.Client(base_url=address, headers=headers, timeout=60) as compreface,
        Client(target, key=read_settings().key) as vitrine,
    ):
        for subject, picture in listed(compreface):
            content = compreface.get(f"recognition/faces/{quote(picture, safe='')}/img")
            try:
                vitrine.enrol(
                    subject, [content.raise_for_status().content], idempotency_key=picture
                )
            except RequestError as problem:
                refused += 1
                print(f"{subject}, {picture}: {problem}")  # noqa: T201
    return refused


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) > 0)
