import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from artifacts import Artifact, ArtifactError, Runtime
from artifacts.atlas import ATLAS_FILE, SHEET_FILE, Atlas, draw_sheet
from tests.graphs import tiny_artifact, with_atlas
from tests.pictures import photograph

PICTURES = [np.asarray(photograph(40, 30, seed)) for seed in range(20)]


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return with_atlas(tiny_artifact(tmp_path), PICTURES)


def atlas_of(artifact: Artifact) -> Atlas:
    atlas = Atlas.read(artifact)
    assert atlas is not None
    return atlas


def test_known_pictures_are_their_own_nearest(artifact: Artifact) -> None:
    atlas = atlas_of(artifact)
    vectors = Runtime.open(artifact).run(PICTURES[3:6], ["features"])["features"]
    numbers, apart = atlas.nearest(vectors, 4)
    assert numbers[:, 0].tolist() == [3, 4, 5]
    assert apart[:, 0] == pytest.approx(0, abs=5e-3)  # half precision
    lengths = np.linalg.norm(atlas.vectors - vectors[1], axis=1)
    assert apart[1] == pytest.approx(np.sort(lengths)[:4], abs=1e-5)
    assert atlas.nearest(vectors, 50)[0].shape == (3, 20)


def test_a_picture_lies_amid_its_nearest(artifact: Artifact) -> None:
    atlas = atlas_of(artifact)
    vectors = atlas.vectors[:2]
    numbers, _ = atlas.nearest(vectors, 10)
    expected = np.median(np.linspace(0, 1, 20)[numbers], axis=1)
    assert atlas.place(vectors)[:, 0] == pytest.approx(expected)
    assert atlas.place(vectors)[:, 1].tolist() == [0.5, 0.5]


def test_the_sheet_shows_all_in_order() -> None:
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    plain = [np.full((20, 20, 3), colour, np.uint8) for colour in colours]
    wide = np.full((10, 20, 3), 250, np.uint8)
    with Image.open(io.BytesIO(draw_sheet([*plain, wide], 16))) as sheet:
        assert sheet.size == (32, 32)
        seen = [sheet.getpixel(place) for place in ((8, 8), (24, 8), (8, 24), (24, 24), (24, 17))]
    expected = [*colours, (250, 250, 250), (127, 127, 127)]
    assert np.array(seen) == pytest.approx(np.array(expected), abs=12)


def test_an_artifact_without_has_none(tmp_path: Path) -> None:
    assert Atlas.read(tiny_artifact(tmp_path)) is None


def test_that_of_another_graph_counts_as_none(artifact: Artifact) -> None:
    files = artifact.contents()
    other = tiny_artifact(artifact.path.parent, "other", classes=("left", "right"))
    files |= {"model.onnx": other.model_path.read_bytes()}
    changed = Artifact.save(other.manifest, files, artifact.path.parent)
    assert Atlas.read(changed) is None


@pytest.mark.parametrize("content", [b"junk", b""])
def test_a_file_that_is_none_is_refused(artifact: Artifact, content: bytes) -> None:
    files = {**artifact.contents(), ATLAS_FILE: content}
    broken = Artifact.save(artifact.manifest, files, artifact.path.parent)
    assert SHEET_FILE in broken.manifest.files
    with pytest.raises(ArtifactError, match="not an atlas"):
        Atlas.read(broken)


def test_arrays_of_different_pictures_are_refused(artifact: Artifact) -> None:
    atlas = atlas_of(artifact)
    short = Atlas(**{**vars(atlas), "labels": atlas.labels[1:]})
    files = {**artifact.contents(), ATLAS_FILE: short.content()}
    broken = Artifact.save(artifact.manifest, files, artifact.path.parent)
    with pytest.raises(ArtifactError, match="not of the same pictures"):
        Atlas.read(broken)


def test_features_that_half_precision_does_not_hold_are_refused(artifact: Artifact) -> None:
    atlas = atlas_of(artifact)
    with pytest.raises(ArtifactError, match="65504"):
        Atlas(**{**vars(atlas), "vectors": atlas.vectors * 1e6}).content()
