"""What both clients ask about feedback, on a real server."""

from collections.abc import Iterator

import numpy as np
import pytest

from serving.problems import RequestError
from tests.graphs import tiny_artifact
from tests.pictures import photograph
from tests.server import running_server
from tests.serving.client.conftest import opened


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("feedback")
    tiny_artifact(root / "models", "tiny")
    with running_server(root / "models", root / "log", VITRINE_FEEDBACK="pictures") as address:
        yield address


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_feedback_is_given_read_and_erased(kind: str, address: str) -> None:
    pictures = [np.asarray(photograph(16, 16, seed)) for seed in range(130)]  # three requests
    with opened(kind, address) as client:
        answer = client.classify("tiny", pictures)
        assert answer.feedback == "pictures"
        assert len({picture.id for picture in answer.pictures}) == len(pictures)
        name = answer.pictures[129].id
        given = client.give_feedback(name, ["blue"], picture=pictures[129])
        assert given.picture
        assert client.feedback(name) == given
        assert client.give_feedback(name, verdict="wrong").labels is None
        assert client.feedback_summary().models[0].answers >= 1
        assert client.erase_feedback(name).picture
        for ask in (
            lambda: client.give_feedback(name, "blue", picture=pictures[0]),
            lambda: client.feedback("nothing"),
        ):
            with pytest.raises(RequestError) as caught:
                ask()
            assert caught.value.code in {"another-picture", "unknown-answer"}
