"""The committed artifacts are up to date with their recipes and the code of their networks."""

import pytest

from artifacts import Artifact, artifact_names
from training.recipe import load_recipe, recipe_names
from training.status import status


@pytest.mark.parametrize("name", artifact_names())
def test_no_committed_artifact_has_to_be_trained_again(name: str) -> None:
    manifest = Artifact.open(name).manifest
    record = manifest.recipe
    if record is None or record.name not in recipe_names():
        pytest.skip("no recipe of the project made it")
    recipe = load_recipe(record.name, record.profile)
    assert status(recipe, compare_data=False).current
    assert manifest.providers == ()
    assert b'"providers"' not in manifest.canonical()
