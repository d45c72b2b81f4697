"""Fuzzes the decoder with atheris: any bytes must give a picture or a documented refusal.

`python tests/hostile/fuzz_pictures.py -max_total_time=60 [CORPUS]`; `make fuzz` runs it for long.
libFuzzer's options apply; an input that makes it fail is written to `crash-HASH`.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["PIL", "artifacts.pictures", "serving.pictures.decode", "serving.pictures.header"]
):
    from serving.pictures.decode import read_pictures

from artifacts import InputPolicy
from serving.problems import RequestError
from tests.hostile.corpus import samples

POLICY = InputPolicy(accepted_side=(8, 512))


def decode(content: bytes) -> None:
    """Decode bytes; anything except a picture or a documented refusal is a failure."""
    try:
        (picture,) = read_pictures([content], POLICY)
    except RequestError as error:
        if not 400 <= error.status < 500:
            raise
        return
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise AssertionError(picture.shape)


def main() -> None:
    """Run the fuzzer, starting from the valid pictures of the corpus."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in samples().items():
            (Path(folder) / name).write_bytes(content)
        arguments = [*sys.argv, folder, "-max_len=20000", "-timeout=30", "-rss_limit_mb=4096"]
        atheris.Setup(arguments, decode)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
