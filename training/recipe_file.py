"""Reads recipe files: the settings of each recipe in a file, and the lines on which they stand."""

import copy
import difflib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import yaml

from artifacts import VitrineError

Key = str | int
TEXT, MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


class RecipeError(VitrineError):
    """A recipe is unknown or malformed."""


@dataclass(frozen=True)
class RecipeFile:
    """A parsed recipe file.

    `variants` overrides settings of the file by variant name. `grid` lists values of settings, and
    every combination of them becomes a variant.
    """

    label: str
    """Name or path of the file, as it is shown in messages."""
    root: yaml.Node
    settings: dict[str, Any]
    """Settings that all variants share, without `grid` and `variants`."""
    variants: dict[str, dict[str, Any]]
    """Settings of each variant, by its name; empty if the file defines a single recipe."""

    @classmethod
    def parse(cls, text: str, label: str) -> Self:
        """Parse the text of a file.

        Raises:
            RecipeError: The text is not YAML, has a key twice, or has no mapping where one is
                expected; the message names the line.
        """
        try:
            loader = yaml.SafeLoader(text)
            root = loader.get_single_node()
            if not isinstance(root, yaml.MappingNode):
                raise RecipeError(f"{label}: the file must be a YAML mapping of settings.")
            _check_keys(root, label, set())
            settings = loader.construct_document(root)
        except yaml.MarkedYAMLError as error:
            raise RecipeError(_syntax_message(error, text, label)) from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise RecipeError(f"{label}: the file is not YAML: {error}") from None
        file = cls(label, root, settings, {})
        grid = settings.pop("grid", None)
        named = settings.pop("variants", None)
        file.check_mappings(settings.get("profiles"), "profiles")
        file.check_mappings(named, "variants")
        for name, changes in (named or {}).items():
            file.check_mappings((changes or {}).get("profiles"), "variants", name, "profiles")
        file.variants.update(_variants(file.grid(grid), named or {}))
        return file

    def grid(self, grid: Any) -> dict[str, list[Any]]:
        """Check that `grid` lists values by the name of a setting.

        Raises:
            RecipeError: It does not.
        """
        if grid is None:
            return {}
        if not isinstance(grid, dict):
            raise self.error(["grid"], "lists of values are expected, by the names of settings.")
        for key, values in grid.items():
            if not isinstance(values, list) or any(isinstance(v, dict | list) for v in values):
                raise self.error(["grid", key], "a list of values is expected, such as [0, 1].")
        return grid

    def check_mappings(self, value: Any, *place: str) -> None:
        """Check that a value maps names to settings.

        Raises:
            RecipeError: It does not; the message names the place and the line.
        """
        if value is not None and not isinstance(value, dict):
            raise self.error(place, "settings are expected, by name.")
        for name, settings in (value or {}).items():
            if settings is not None and not isinstance(settings, dict):
                raise self.error([*place, name], f"settings are expected, not {settings!r}.")

    def of_variant(self, variant: str | None) -> dict[str, Any]:
        """Return the settings of a variant, or those of the file if it is None."""
        return overlay(self.settings, self.variants[variant] if variant else {})

    def line(self, path: Iterable[Key], layers: Iterable[tuple[str, ...]] = ((),)) -> int | None:
        """Return the line, counted from 1, on which a setting stands.

        Args:
            path: Keys that lead to the setting, such as optimizer and lr.
            layers: Keys of the mappings that may hold it, such as profiles and cpu; the first one
                that holds it counts.

        Returns:
            Its line; that of the nearest mapping around it if it is missing; else None.
        """
        keys, places = tuple(path), tuple(layers)
        for length in range(len(keys), 0, -1):
            dotted = ("grid", ".".join(map(str, keys[:length])))
            for place in (*((*layer, *keys[:length]) for layer in places), dotted):
                mark = _mark(self.root, place)
                if mark is not None:
                    return mark.line + 1
        return None

    def error(
        self, path: Iterable[Key], message: str, layers: Iterable[tuple[str, ...]] = ((),)
    ) -> RecipeError:
        """Return an error that names the file, the line and the setting; see `line`."""
        keys = tuple(path)
        line = self.line(keys, layers)
        where = self.label if line is None else f"{self.label}, line {line}"
        return RecipeError(": ".join(filter(None, [where, ".".join(map(str, keys)), message])))


def nested(dotted: Mapping[str, Any]) -> dict[str, Any]:
    """Turn settings with dotted names into nested dictionaries, as in a file.

    Raises:
        RecipeError: A name leads into a value, as in `seed=1` and `seed.x=2`.
    """
    tree: dict[str, Any] = {}
    for key, value in dotted.items():
        *path, last = key.split(".")
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
            if not isinstance(branch, dict):
                raise RecipeError(f"{key}: {part} is changed twice; change one of the two.")
        branch[last] = value
    return tree


def overlay(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` overridden by `changes`, nested mappings key by key."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = overlay(result[key], value) if both else value
    return result


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return "did you mean X? " for the names that resemble one; empty if none does."""
    near = difflib.get_close_matches(name, list(known), cutoff=cutoff)
    return f"did you mean {' or '.join(near)}? " if near else ""


def _variants(
    grid: dict[str, list[Any]], named: Mapping[str, dict[str, Any] | None]
) -> dict[str, dict[str, Any]]:
    """Return the overrides of each variant: combinations of the grid, then those given by name."""
    variants: dict[str, dict[str, Any]] = {}
    for values in itertools.product(*grid.values()) if grid else ():
        name = "-".join(map(str, values))
        variants[name] = nested(dict(zip(grid, values, strict=True)))
    return {
        name: overlay(variants.get(name, {}), named.get(name) or {})
        for name in dict.fromkeys([*variants, *named])
    }


def _check_keys(node: yaml.Node, label: str, seen: set[int]) -> None:
    """Raise RecipeError if a mapping in a node has a key twice, or one that is not text."""
    if id(node) in seen:
        return
    seen.add(id(node))
    lines: dict[str, int] = {}
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        where = f"{label}, line {key.start_mark.line + 1}"
        if key.tag == MERGE:
            continue
        if key.tag != TEXT:
            raise RecipeError(f"{where}: the key {key.value!s} is not text; put it in quotes.")
        if key.value in lines:
            raise RecipeError(
                f"{where}: {key.value} is set in line {lines[key.value]} already; remove one."
            )
        lines[key.value] = key.start_mark.line + 1
    for child in _children(node):
        _check_keys(child, label, seen)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        yield from (value for _, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _mark(node: yaml.Node, path: Iterable[Key]) -> yaml.Mark | None:
    """Return where the last key of a path stands; None if the path does not exist."""
    mark: yaml.Mark | None = node.start_mark
    for key in path:
        if isinstance(node, yaml.MappingNode):
            found = [(k.start_mark, value) for k, value in node.value if k.value == str(key)]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int):
            found = [(value.start_mark, value) for value in node.value[key : key + 1]]
        else:
            found = []
        if not found:
            return None
        mark, node = found[0]
    return mark


def _syntax_message(error: yaml.MarkedYAMLError, text: str, label: str) -> str:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return f"{label}: the file is not YAML: {error.problem}"
    rows = text.splitlines()
    tab = mark.line < len(rows) and "\t" in rows[mark.line]
    advice = "; YAML is indented with spaces, and this line has a tab" if tab else ""
    where = f"{label}, line {mark.line + 1}, column {mark.column + 1}"
    return f"{where}: the file is not YAML: {error.problem}{advice}."
