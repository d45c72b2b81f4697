"""Copies artifacts into a store, with a README.md that the Hugging Face Hub reads."""

from artifacts.artifact import Artifact
from artifacts.names import MANIFEST_FILE
from artifacts.stores.hub_card import README_FILE, hub_card
from artifacts.stores.location import Location
from artifacts.stores.pull import MANIFEST_BYTES


def push(artifact: Artifact, store: Location, licence: str | None = None) -> tuple[Location, int]:
    """Copy an artifact into a store.

    The manifest comes last: until then, whoever pulls gets the artifact that was there before if
    its files are still the same, and an error otherwise; never a mixture. `README.md` is not one of
    the files that the manifest lists, and is not pulled.

    Args:
        artifact: it was verified when it was opened.
        store: a folder of artifacts; or the folder of this one, if it has the artifact's name.
        licence: see `hub_card`.

    Returns:
        The artifact's folder in the store, and the number of bytes that were written.

    Raises:
        StoreError: the store cannot be reached or written to.
        ArtifactError: a file of the artifact was changed meanwhile.
    """
    target = store if store.name == artifact.name else store / artifact.name
    manifest = artifact.manifest.canonical()
    readme = hub_card(artifact.manifest, licence).encode()
    files = {README_FILE: readme}
    there = target / MANIFEST_FILE
    if not there.exists() or there.read(MANIFEST_BYTES) != manifest:
        files |= {**artifact.contents(), MANIFEST_FILE: manifest}
    for name, content in files.items():
        (target / name).write(content)
    return target, sum(map(len, files.values()))
