"""Objects that belong to a served model and are expensive to make, such as its probe."""

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from artifacts import ArtifactError
from serving.inference.served_model import ServedModel
from serving.problems import RequestError

Made = TypeVar("Made")


class PerModel(Generic[Made]):
    """Makes an object for a model when it is first asked for, and keeps it as long as the model.

    It may be called from several threads at once; each object is made once.

    Args:
        make: makes the object; may raise an `ArtifactError`.
    """

    def __init__(self, make: Callable[[ServedModel], Made]) -> None:
        self._make = make
        self._slots: WeakKeyDictionary[ServedModel, _Slot[Made]] = WeakKeyDictionary()
        self._lock = Lock()

    def __call__(self, model: ServedModel) -> Made:
        """Return the object of a model.

        Raises:
            RequestError: it cannot be made from the artifact, for example because the artifact's
                files have changed.
        """
        with self._lock:
            slot = self._slots.setdefault(model, _Slot())
        with slot.lock:
            if not slot.made:
                try:
                    slot.made.append(self._make(model))
                except ArtifactError as error:
                    raise RequestError(
                        "model-unavailable", f"model {model.name!r}: {error}"
                    ) from None
            return slot.made[0]


class _Slot(Generic[Made]):
    """Where the object of one model is kept; `made` is empty until it has been made."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.made: list[Made] = []
