"""Checks a recipe's network against the source code of `training.networks`, without torch.

Importing the networks takes seconds, which a listing of recipes and a misspelt option should not.
"""

import ast
import difflib
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from training.settings import Network

FOLDER = Path(__file__).parent / "networks"
OPTIONS = "options"


@dataclass(frozen=True)
class Option:
    """An option of a network's builder."""

    required: bool
    values: tuple[object, ...] = ()
    """The values that are allowed; empty if the type does not list them."""


def find_mistake(network: Network) -> tuple[tuple[str, ...], str] | None:
    """Return the first mistake in the name or the options of a network; None if there is none.

    Values whose type does not list what is allowed are left to the builder.

    Returns:
        The keys that lead to the mistake, below `network`, and what is wrong and what is allowed.
    """
    known = builders()
    if network.name not in known:
        return ("name",), f"{network.name!r} is unknown; {_advice(network.name, known)}"
    options = known[network.name]
    for name, value in network.options.items():
        if name not in options:
            advice = _advice(name, options)
            return (OPTIONS, name), f"the network {network.name} has no such option; {advice}"
        allowed = options[name].values
        if allowed and value not in allowed:
            choices = ", ".join(map(str, allowed))
            return (OPTIONS, name), f"{value!r} is not allowed; use one of: {choices}."
    for name, option in options.items():
        if option.required and name not in network.options:
            return (OPTIONS,), f"the network {network.name} needs the option {name}."
    return None


@functools.cache
def builders() -> Mapping[str, Mapping[str, Option]]:
    """Return the options of each network by their names; `classes` is not one of a recipe's."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name == path.stem:
                found[node.name] = _options(node.args)
    return found


def _options(arguments: ast.arguments) -> dict[str, Option]:
    given: list[ast.expr | None] = list(arguments.defaults)
    defaults = [None] * (len(arguments.args) - len(given)) + given
    pairs = zip(arguments.args, defaults, strict=True)
    only_named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return {
        argument.arg: Option(default is None, _literals(argument.annotation))
        for argument, default in (*pairs, *only_named)
        if argument.arg != "classes"
    }


def _literals(annotation: ast.expr | None) -> tuple[object, ...]:
    """Return the values of an annotation such as Literal["none", "cosine"]; else nothing."""
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Literal":
        value = ast.literal_eval(annotation.slice)
        return value if isinstance(value, tuple) else (value,)
    return ()


def _advice(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    guess = f"did you mean {near[0]}? " if near else ""
    return f"{guess}There are: {', '.join(known) or 'none'}."
