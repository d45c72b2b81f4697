"""Downloads, with torchvision, the data sets whose terms allow it."""

from urllib.error import URLError

from artifacts import DataError
from artifacts.datasets import data_root

FETCHABLE = {"cifar10": "CIFAR10", "mnist": "MNIST"}
"""torchvision's class by name of the data set."""
BY_HAND = (
    "stanford_cars (stanford_cars/{train,test}/CLASS/PICTURE) and faces "
    "(faces/COLLECTION/PERSON/PICTURE) must be requested from their owners and put into "
    "VITRINE_DATA by hand"
)


def download(name: str) -> bool:
    """Download a data set into `VITRINE_DATA`.

    Returns:
        False if the data set is not one of `FETCHABLE`; nothing is downloaded then.

    Raises:
        DataError: There is no network, or the download fails.
    """
    if name not in FETCHABLE:
        return False
    from torchvision import datasets  # noqa: PLC0415  takes seconds to import

    try:
        getattr(datasets, FETCHABLE[name])(root=data_root(), download=True)
    except (URLError, OSError, RuntimeError) as error:
        raise DataError(
            f"{name} is not under {data_root()} and could not be downloaded ({error}). Put it "
            "there, or set VITRINE_DATA to the folder that holds it."
        ) from None
    return True
