"""The page about a model trained on your own pictures: one HTML file that opens without a network."""

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from artifacts import VitrineError
from training.pictures.results import Results

PAGE_FILE = "index.html"


def write_page(folder: Path, results: Results) -> Path:
    """Write the page about a model as `folder`/index.html, and return its path.

    The page contains everything that it shows: thumbnails are inside it, and no script is needed.

    Args:
        folder: created if it is missing.
        results: what was measured.

    Raises:
        VitrineError: the page cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("training.pictures", "."), autoescape=True, undefined=StrictUndefined
    )
    text = environment.get_template("page.html.j2").render(results=results)
    path = folder / PAGE_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise VitrineError(f"{path}: cannot be written ({error}); choose another folder.") from None
    return path
