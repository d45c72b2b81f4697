"""Recipes outside the project: how their files are named, and what the paths in them refer to.

A path in a recipe that starts with `./` or `../` is relative to the folder of the recipe's file.
The name of a data set is otherwise relative to `VITRINE_DATA`, and a file of weights to the working
folder. This holds for `data.name`, `evaluation.people` and `network.options.weights`.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from training.recipe_file import RecipeError, RecipeFile, nearest

if TYPE_CHECKING:
    from training.recipe_settings import Recipe

PATTERN = re.compile(r"(?P<path>.+\.ya?ml)(:(?P<variant>[^:/\\]+))?", re.IGNORECASE)
DATA_BY_PATH = ("faces", "image_folder", "table")
"""Data sets whose name is followed by `/` and a path."""
MAX_BYTES = 2**20
"""Maximum size of a recipe file; parsing takes about a second for each 100 kB."""


@dataclass(frozen=True)
class Reference:
    """A recipe in a file that is known by its path, such as `my.yaml` or `my.yaml:VARIANT`."""

    path: Path
    variant: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Parse what a user typed; returns None if it is the name of a recipe of the project.

        It is a path if it ends in .yaml or .yml, before a colon and the name of a variant if there
        is one, or if it contains a path separator.
        """
        match = PATTERN.fullmatch(text)
        if match:
            return cls(Path(match["path"]), match["variant"])
        if "/" in text or os.sep in text:
            return cls(Path(text))
        return None

    def __str__(self) -> str:
        return f"{self.path}:{self.variant}" if self.variant else str(self.path)

    def read(self) -> RecipeFile:
        """Read and parse the file.

        Raises:
            RecipeError: The file cannot be read, is no text, or is malformed.
        """
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise RecipeError(
                f"{self.path}: the recipe file cannot be read ({error.strerror}); "
                "`vitrine train init PICTURES` writes one, and `vitrine train list` shows the "
                "names of the project's own recipes."
            ) from None
        if len(content) > MAX_BYTES:
            raise RecipeError(f"{self.path}: a recipe file has at most {MAX_BYTES:,} bytes.")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise RecipeError(
                f"{self.path}, line {line}: the recipe file must be text in UTF-8."
            ) from None
        return RecipeFile.parse(text, str(self.path))

    def checked_variant(self, file: RecipeFile) -> str | None:
        """Return the variant after checking that the file has it.

        Raises:
            RecipeError: The file has no such variant, or has variants and none is named.
        """
        if self.variant in file.variants or not (self.variant or file.variants):
            return self.variant
        if not file.variants:
            raise RecipeError(f"{self.path} has no variants; write {self.path} alone.")
        known = ", ".join(file.variants)
        if self.variant is None:
            example = next(iter(file.variants))
            raise RecipeError(
                f"{self.path} has several recipes; write {self.path}:{example} to choose one of: "
                f"{known}."
            )
        advice = nearest(self.variant, file.variants)
        raise RecipeError(f"{self.path} has no variant {self.variant!r}; {advice}It has: {known}.")

    def head(self, file: RecipeFile, name: str) -> Self | None:
        """Return the recipe that `head_from` names; None if it is not one of a file.

        Args:
            file: The content of this recipe's file.
            name: Another variant of the file, with or without the name of the file before it; or
                the path of a recipe file, relative to the folder of this one.
        """
        base = file.settings.get("name", self.path.stem)
        for variant in file.variants:
            if name in (variant, f"{base}-{variant}"):
                return replace(self, variant=variant)
        other = self.parse(name)
        return replace(other, path=self.path.parent / other.path) if other else None


def resolve(recipe: "Recipe", folder: Path) -> "Recipe":
    """Make the paths absolute that are relative to the folder of a recipe's file."""

    def absolute(path: str) -> str:
        return os.path.normpath(folder / path) if path.startswith(("./", "../")) else path

    def data_set(name: str) -> str:
        return _of_data_set(name, absolute)

    options = recipe.network.options
    if isinstance(options.get("weights"), str):
        options = {**options, "weights": absolute(options["weights"])}
    people = tuple(map(data_set, recipe.evaluation.people))
    return replace(
        recipe,
        data=replace(recipe.data, name=data_set(recipe.data.name)),
        network=replace(recipe.network, options=options),
        evaluation=replace(recipe.evaluation, people=people),
    )


def as_written(settings: dict[str, Any], file: str) -> dict[str, Any]:
    """Return settings with paths below the folder of the recipe's file relative to that folder.

    Args:
        settings: Settings of a recipe that differ from their defaults.
        file: Absolute path of the file; empty for the project's own recipes, which are unchanged.
    """
    if not file:
        return settings
    folder = Path(file).parent

    def relative(path: str) -> str:
        below = Path(path).is_absolute() and Path(path).is_relative_to(folder)
        return f"./{Path(path).relative_to(folder).as_posix()}" if below else path

    data, network = settings["data"], settings["network"]
    settings = {**settings, "data": {**data, "name": _of_data_set(data["name"], relative)}}
    options = network.get("options", {})
    if isinstance(options.get("weights"), str):
        options = {**options, "weights": relative(options["weights"])}
        settings["network"] = {**network, "options": options}
    evaluation = settings.get("evaluation", {})
    if "people" in evaluation:
        people = [_of_data_set(name, relative) for name in evaluation["people"]]
        settings["evaluation"] = {**evaluation, "people": people}
    return settings


def _of_data_set(name: str, change: Callable[[str], str]) -> str:
    """Change the path in the name of a data set, if it has one."""
    base, slash, path = name.partition("/")
    return f"{base}{slash}{change(path)}" if base in DATA_BY_PATH else name
