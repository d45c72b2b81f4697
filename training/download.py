"""Fetches the data sets whose terms let anyone fetch them, by torchvision's own code."""

from urllib.error import URLError

from artifacts import DataError
from artifacts.datasets import data_root

FETCHABLE = {"cifar10": "CIFAR10", "mnist": "MNIST"}
"""Names of torchvision's classes."""
BY_HAND = (
    "stanford_cars (stanford_cars/{train,test}/CLASS/PICTURE) and faces "
    "(faces/COLLECTION/PERSON/PICTURE) must be asked of their owners and put there by hand"
)


def download(name: str) -> bool:
    """Fetch a data set into `VITRINE_DATA`; False where that is not ours to do.

    Raises:
        DataError: no network, or the source does not answer.
    """
    if name not in FETCHABLE:
        return False
    from torchvision import datasets  # noqa: PLC0415  takes seconds to import

    try:
        getattr(datasets, FETCHABLE[name])(root=data_root(), download=True)
    except (URLError, OSError, RuntimeError) as error:
        raise DataError(
            f"{name} is not under {data_root()} and could not be fetched ({error}). Put it there, "
            "or set VITRINE_DATA to the folder that holds it."
        ) from None
    return True
