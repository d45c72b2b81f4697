"""Which models a route has, and which of them answers if a request asks for none by name."""

from collections.abc import Iterable, Mapping

from artifacts.artifact import Artifact
from artifacts.errors import ArtifactError
from artifacts.manifest import Manifest
from artifacts.names import artifact_names, default_version


def models_by_route(
    manifests: Mapping[str, Manifest], names: Iterable[str]
) -> dict[str, tuple[str, ...]]:
    """Return the names of the models of each route; the first one answers by default.

    Models trained on real data come before those trained on synthetic data, then those whose
    manifest says `default`, then those with the best validation accuracy (of a multi-label model,
    mean average precision). Versions of a model that are not its default version come last.

    Args:
        manifests: manifests by the name of the artifact, which may end in a version.
        names: names of all artifacts, including those that cannot be opened.
    """
    known = tuple(names)

    def rank(name: str) -> tuple[bool, bool, bool, float, str]:
        manifest = manifests[name]
        score = manifest.metric(manifest.main_metric, "validation") or 0.0
        return (*_group(name, manifest, known), not manifest.default, -score, name)

    routes: dict[str, list[str]] = {}
    for name in sorted(manifests, key=rank):
        route = manifests[name].route
        if route is not None:
            routes.setdefault(route, []).append(name)
    return {route: tuple(routes[route]) for route in sorted(routes)}


def unclear_defaults(manifests: Mapping[str, Manifest], names: Iterable[str]) -> list[str]:
    """Return a sentence about each route whose default no manifest, or more than one, names.

    Models that another rule excludes from being the default do not count: other versions, and
    models trained on synthetic data beside those trained on real data. The arguments are those of
    `models_by_route`.
    """
    known = tuple(names)
    sentences = []
    for route, models in models_by_route(manifests, known).items():
        first = models[0]
        group = _group(first, manifests[first], known)
        eligible = [name for name in models if _group(name, manifests[name], known) == group]
        said = [name for name in eligible if manifests[name].default]
        if len(eligible) == 1 or len(said) == 1:
            continue
        what = (
            f"{', '.join(said)} all say that they are"
            if said
            else f"none of {', '.join(eligible)} says that it is"
        )
        sentences.append(
            f"route {route!r}: {what} the default; {first} answers. "
            "Choose one: vitrine models default NAME"
        )
    return sentences


def make_default(name: str) -> list[str]:
    """Make an artifact the default of its route, and return the names of those that were.

    Raises:
        ArtifactError: the artifact cannot be opened or has no route, or would not answer by
            default even so. Nothing is changed then.
    """
    chosen = Artifact.open(name)
    route = chosen.manifest.route
    if route is None:
        raise ArtifactError(
            f"{chosen.name} has no route; train or import it again with a route, or ask for it by "
            "its name."
        )
    names = artifact_names()
    artifacts = {chosen.name: chosen}
    for other in names:
        try:
            artifacts.setdefault(other, Artifact.open(other))
        except ArtifactError:
            continue  # it answers nothing either
    wanted = {
        other: artifact.manifest.model_copy(update={"default": other == chosen.name})
        for other, artifact in artifacts.items()
        if artifact.manifest.route == route
    }
    first = models_by_route(wanted, names)[route][0]
    if first != chosen.name:
        why = (
            "it is not the default version"
            if _group(chosen.name, chosen.manifest, tuple(names))[0]
            else "it was trained on synthetic pictures, and others were not"
        )
        raise ArtifactError(f"{chosen.name} cannot be the default of {route!r}: {why}.")
    changed = [
        other for other, m in wanted.items() if m.default != artifacts[other].manifest.default
    ]
    for other in changed:
        artifacts[other].rewrite(wanted[other], artifacts[other].contents())
    return [other for other in changed if other != chosen.name]


def _group(name: str, manifest: Manifest, known: tuple[str, ...]) -> tuple[bool, bool]:
    """Return whether the model is another version than the default one, and is synthetic."""
    return name != default_version(manifest.name, known), manifest.synthetic
