import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from artifacts import InputPolicy, VitrineError
from serving.client import Client, chunks, connect
from serving.client.chunks import ServerError, encode
from serving.client.in_process import LocalPredictor
from serving.pictures.decode import read_pictures
from serving.problems import RequestError
from tests.pictures import encoded, photograph

if TYPE_CHECKING:
    from serving.client.predictor import Predictor

ROOT = Path(__file__).parents[3]


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


@pytest.fixture
def local(models: Path) -> LocalPredictor:
    return LocalPredictor(models)


def pictures(count: int) -> list[bytes | np.ndarray]:
    """Encoded ones and arrays, of mixed sizes."""
    images = [photograph(20 + 3 * (i % 5), 30 + 7 * (i % 3), i) for i in range(count)]
    return [encoded(x, "JPEG") if i % 2 else np.asarray(x) for i, x in enumerate(images)]


def test_both_predictors_give_the_same(client: Client, local: LocalPredictor) -> None:
    sent = pictures(9)
    assert client.models() == local.models()
    assert client.model_info("tiny") == local.model_info("tiny")
    ours, theirs = (p.classify("tiny", sent, top=2) for p in (client, local))
    assert ours.model == theirs.model
    for a, b in zip(ours.pictures, theirs.pictures, strict=True):
        assert (a.size, a.shown, a.treatment) == (b.size, b.shown, b.treatment)
        assert [p.label for p in a.top] == [p.label for p in b.top]
        np.testing.assert_allclose(
            [p.probability for p in a.top], [p.probability for p in b.top], atol=1e-6
        )
    features = client.features("tiny", sent)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, local.features("tiny", sent), rtol=1e-5, atol=1e-6)
    ours_inside, theirs_inside = client.inspect("tiny", sent), local.inspect("tiny", sent)
    for x, y in zip(ours_inside.layers, theirs_inside.layers, strict=True):
        assert (x.name, x.operator, x.channels) == (y.name, y.operator, y.channels)
        np.testing.assert_allclose(x.channel_zeros, y.channel_zeros, atol=1e-6)


def test_chunks_join_to_what_one_request_gives(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = pictures(23)
    whole = (
        client.classify("tiny", sent),
        client.features("tiny", sent),
        client.inspect("tiny", sent),
    )
    monkeypatch.setattr(chunks, "CHUNK_PICTURES", 5)
    assert [len(chunk) for _, chunk in chunks.chunks(sent)] == [5, 5, 5, 5, 3]
    parts = (
        client.classify("tiny", sent),
        client.features("tiny", sent),
        client.inspect("tiny", sent),
    )
    assert [p.top[0].label for p in parts[0].pictures] == [
        p.top[0].label for p in whole[0].pictures
    ]
    np.testing.assert_allclose(parts[1], whole[1], rtol=1e-5, atol=1e-6)
    assert parts[2].pictures == 23
    for a, b in zip(parts[2].layers, whole[2].layers, strict=True):
        np.testing.assert_allclose(a.channel_zeros, b.channel_zeros, rtol=0, atol=1e-12)
        assert a.zeros == pytest.approx(b.zeros, abs=1e-12)
    assert parts[2].layers[0].channel_zeros[0] == 1.0


def test_chunks_are_bounded_by_pixels_and_bytes() -> None:
    large = np.zeros((2048, 2048, 3), np.uint8)
    small = np.zeros((8, 8, 3), np.uint8)
    sent = [small, large, large, small, b"not a picture"]
    assert [(start, len(chunk)) for start, chunk in chunks.chunks(sent)] == [
        (0, 1),
        (1, 1),
        (2, 1),
        (3, 2),
    ]
    assert [len(c) for _, c in chunks.chunks([encoded(photograph(2048, 2048))] * 4)] == [3, 1]


def test_arrays_are_sent_without_loss() -> None:
    picture = np.asarray(photograph(33, 17))
    assert np.array_equal(read_pictures([encode(picture)], InputPolicy())[0], picture)


@pytest.mark.parametrize("kind", ["client", "local"])
def test_refusals_are_the_same_and_name_the_picture(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_PICTURES", 3)
    predictor: Predictor = request.getfixturevalue(kind)
    good = encoded(photograph(32, 32))
    with pytest.raises(RequestError) as caught:
        predictor.classify("tiny", [good] * 4 + [b"junk"])
    assert caught.value.code == "unsupported-format"
    assert str(caught.value).startswith("picture 4: its 4 bytes do not begin as a picture")
    with pytest.raises(RequestError) as caught:
        predictor.features("tiny", [])
    assert caught.value.code == "no-picture"
    for name in ("nobody", "a/b", "broken"):
        with pytest.raises(VitrineError, match=name):
            predictor.model_info(name)


def test_a_server_that_is_not_there_is_one_clear_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with Client(address) as client, pytest.raises(ServerError, match="no server answers") as caught:
        client.models()
    assert "\n" not in str(caught.value)
    with Client("127.0.0.1:3000") as client, pytest.raises(ServerError):
        client.models()


def test_a_server_that_goes_away_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import socket, sys; socket.socket(fileno=int(sys.argv[1])).accept()[0].recv(9)",
                str(listener.fileno()),
            ],
            pass_fds=[listener.fileno()],
        )
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Client(address) as client, pytest.raises(ServerError, match="failed: ") as caught:
            client.models()
    assert "\n" not in str(caught.value)


def test_connect_chooses() -> None:
    assert isinstance(connect(None), LocalPredictor)
    assert isinstance(connect("http://127.0.0.1:1"), Client)


def test_the_client_needs_no_server_packages() -> None:
    script = (
        "import sys\n"
        "for name in ('torch', 'bentoml', 'fastapi', 'starlette', 'python_multipart'):\n"
        "    sys.modules[name] = None\n"
        "from serving.client import connect\n"
        "connect(None)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
