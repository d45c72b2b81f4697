"""One server for all tests of the playground, and a browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from artifacts import artifacts_root
from serving.http.access import make_key
from tests.browser import opened_page, running_browser
from tests.graphs import tiny_artifact
from tests.server import running_server

SECRET, ENTRY = make_key("ada", "read+write")


@pytest.fixture(scope="session")
def secret() -> str:
    """The key that the server knows."""
    return SECRET


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with keys, on a classifier, a closed one without atlas, a model of faces, and two
    classifiers of other purposes."""
    root = tmp_path_factory.mktemp("playground")
    (root / "models").mkdir()
    for name in ("cifar10-gap", "faces-dlib", "ladder-a"):
        (root / "models" / name).symlink_to(artifacts_root().resolve() / name)
    tiny_artifact(root / "models", "sparrows", route="birds")
    tiny_artifact(root / "models", "alone")
    settings = {"VITRINE_API_KEYS": ENTRY, "VITRINE_CLOSED": "/v1/models/ladder-a"}
    with running_server(root / "models", root / "log", **settings) as address:
        yield address


@pytest.fixture(scope="module")  # while it runs, other tests could run no event loop
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened_page(browser, address) as page:
        yield page
