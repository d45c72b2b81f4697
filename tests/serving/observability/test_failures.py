"""A failure of a model is counted once, on every path and in every batch."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.graphs import tiny_artifact
from tests.pictures import encoded, photograph
from tests.server import running_server
from tests.serving.http.test_app import refused
from tests.serving.http.test_middleware import metric
from tests.serving.inference.test_scheduler import poisonable_model

POISON = encoded(Image.new("RGB", (20, 20), (250, 0, 0)))
"""For which the model fails."""
GOOD = encoded(Image.fromarray(np.asarray(photograph(20, 20)) // 2))
PATH = "/v1/models/poisonable/classify"


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    root = tmp_path_factory.mktemp("failures")
    tiny_artifact(root / "models", "poisonable", graph=poisonable_model(), classes=("only",))
    with (
        running_server(root / "models", root / "log.txt") as address,
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        yield client


@pytest.mark.parametrize("query", ["", "?top=1"], ids=["fast path", "FastAPI"])
@pytest.mark.parametrize("pictures", [1, 5])
def test_a_failed_batch_is_counted_once(http: httpx.Client, query: str, pictures: int) -> None:
    names = (
        'vitrine_refusals_total{code="internal-error"}',
        f'vitrine_requests_total{{route="{PATH.replace("poisonable", "{name}")}",status="500"}}',
        'vitrine_batch_pictures_count{model="poisonable"}',
        'vitrine_batch_pictures_sum{model="poisonable"}',
        'vitrine_pictures_total{model="poisonable"}',
    )
    before = [metric(http, name) for name in names]
    files = [("image", ("p", content)) for content in [GOOD] * (pictures - 1) + [POISON]]
    refused(http.post(PATH + query, files=files), "internal-error")
    counted = [metric(http, name) - number for name, number in zip(names, before, strict=True)]
    assert counted == [1, 1, 1, pictures, pictures]
    assert metric(http, "vitrine_queued_pictures") == 0
    assert metric(http, "vitrine_requests_under_way") == 1  # that for the metrics


def test_failures_that_share_batches_are_counted_once_each(http: httpx.Client) -> None:
    """Pictures of one shape, sent at once: those of several requests are in one batch."""
    route = PATH.replace("poisonable", "{name}")
    names = (
        'vitrine_refusals_total{code="internal-error"}',
        f'vitrine_requests_total{{route="{route}",status="500"}}',
        f'vitrine_requests_total{{route="{route}",status="200"}}',
        'vitrine_pictures_total{model="poisonable"}',
    )
    bodies = [[GOOD, POISON, POISON], [GOOD, GOOD], [POISON], [GOOD]] * 10

    def ask(index: int) -> int:
        files = [("image", ("p", content)) for content in bodies[index]]
        query = "?top=1" if index % 3 else ""  # FastAPI's path, and the fast one
        return httpx.post(f"{http.base_url}{PATH}{query}", files=files, timeout=60).status_code

    before = [metric(http, name) for name in names]
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(ask, range(len(bodies))))
    assert statuses == [500, 200, 500, 200] * 10
    counted = [metric(http, name) - number for name, number in zip(names, before, strict=True)]
    assert counted == [20, 20, 20, sum(map(len, bodies))]
    assert metric(http, "vitrine_queued_pictures") == 0
