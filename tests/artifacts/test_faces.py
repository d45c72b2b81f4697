"""Faces are found in photographs and brought into one place."""

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from artifacts.datasets import load
from artifacts.faces import Detector, Found, align, by_prominence, main_face
from artifacts.faces.alignment import SIDE, TEMPLATE, roll, sharpness, similarity
from artifacts.faces.choice import prominence
from artifacts.faces.embedding import embed_chips
from artifacts.input_policy import InputPolicy
from artifacts.runtime import Runtime
from tests.graphs import embedding_model
from tests.pictures import photograph, portrait_photograph

LANDMARKS = (TEMPLATE * SIDE).astype(np.float32)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(threads=1)


def array(image: Image.Image) -> npt.NDArray[np.uint8]:
    return np.asarray(image)


def test_a_similarity_is_recovered() -> None:
    source = np.array([(0.0, 0.0), (4.0, 1.0), (2.0, 5.0)])
    turn = 3 * np.array([(np.cos(0.5), -np.sin(0.5)), (np.sin(0.5), np.cos(0.5))])
    matrix, shift = similarity(source, source @ turn.T + (7, -2))
    np.testing.assert_allclose(matrix, turn, atol=1e-12)
    np.testing.assert_allclose(shift, (7, -2), atol=1e-12)


def test_a_similarity_never_mirrors() -> None:
    source = np.array([(0.0, 0.0), (4.0, 1.0), (2.0, 5.0)])
    matrix, _ = similarity(source, source * (-1, 1))
    assert np.linalg.det(matrix) > 0


def test_what_is_aligned_stays_as_it_is() -> None:
    picture = array(photograph(SIDE, SIDE))
    np.testing.assert_allclose(align(picture, LANDMARKS), picture, atol=1)


@pytest.mark.parametrize("scale", [0.5, 2, 7])
def test_a_face_of_any_size_is_brought_to_one(scale: float) -> None:
    picture = photograph(SIDE, SIDE)
    side = round(SIDE * scale)
    wide = Image.new("RGB", (side + 300, side + 200))
    wide.paste(picture.resize((side, side), Image.Resampling.BICUBIC), (200, 100))
    chip = align(array(wide), LANDMARKS * np.float32(scale) + np.array([200, 100], np.float32))
    difference = chip.astype(float) - array(picture)
    assert np.abs(difference[5:-5, 5:-5]).mean() < 4


def test_roll_is_clockwise() -> None:
    quarter = np.stack([-LANDMARKS[:, 1], LANDMARKS[:, 0]], 1)  # y points down
    assert roll(LANDMARKS) == pytest.approx(0, abs=1e-4)
    assert roll(quarter) == pytest.approx(90, abs=1e-4)


def test_blur_takes_sharpness() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    small = Image.fromarray(noise).resize((30, 30)).resize((SIDE, SIDE))
    assert sharpness(array(small)) < sharpness(noise) / 4
    assert sharpness(np.full((SIDE, SIDE, 3), 99, np.uint8)) == pytest.approx(0, abs=1e-9)


def test_a_face_is_found_with_its_landmarks(detector: Detector) -> None:
    (face,) = detector.find(array(portrait_photograph()))
    left, _, right, bottom = face.box
    np.testing.assert_allclose(face.box, (175, 109, 357, 334), atol=20)
    assert face.probability > 0.99
    eye, other, nose, mouth, corner = face.landmarks
    assert left < eye[0] < nose[0] < other[0] < right
    assert max(eye[1], other[1]) < nose[1] < min(mouth[1], corner[1]) < bottom
    assert abs(roll(face.landmarks)) < 10


@pytest.mark.parametrize("scale", [0.1, 0.5, 3])
def test_a_face_is_found_at_any_size(detector: Detector, scale: float) -> None:
    image = portrait_photograph()
    picture = image.resize((round(image.width * scale), round(image.height * scale)))
    (face,) = detector.find(array(picture))
    assert face.side / scale == pytest.approx(200, rel=0.15)


def test_a_face_aligned_by_wrong_landmarks_is_told_from_an_upright_one(detector: Detector) -> None:
    hopper = array(portrait_photograph())
    chip = align(hopper, detector.find(hopper)[0].landmarks)
    turned = [np.ascontiguousarray(np.rot90(chip, quarters)) for quarters in range(4)]
    assert [detector.quarters(each) for each in turned] == [0, 3, 2, 1]


def test_ten_faces_are_found_largest_first(detector: Detector) -> None:
    one = portrait_photograph()
    wide = Image.new("RGB", (5 * 160, 2 * 180), "grey")
    for place in range(10):
        size = (160 - 6 * place, 180 - 6 * place)
        wide.paste(one.resize(size), (place % 5 * 160, place // 5 * 180))
    found = detector.find(array(wide))
    assert len(found) == 10
    assert [f.side for f in found] == sorted((f.side for f in found), reverse=True)


@pytest.mark.parametrize("size", [(8, 8), (4096, 8), (300, 200)])
def test_nothing_is_found_where_nobody_is(detector: Detector, size: tuple[int, int]) -> None:
    assert detector.find(array(photograph(*size))) == []
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert detector.find(noise) == []


@pytest.mark.data("faces/orl")
def test_faces_of_real_data_are_found(detector: Detector) -> None:
    people = load("faces/orl", "test").head(30)
    found = [len(detector.find(picture)) for picture in people.images]
    assert found.count(1) >= 29


def face(left: float, top: float, side: float) -> Found:
    box = np.array([left, top, left + side, top + side], np.float32)
    return Found(box, LANDMARKS, 1.0)


@pytest.mark.parametrize(
    ("main", "other"),
    [
        (face(90, 80, 70), face(-20, 40, 100)),  # press: cut by the border, and larger
        (face(90, 80, 70), face(160, 10, 85)),  # in a corner, and larger
        (face(40, 30, 90), face(115, 115, 20)),  # aside, with a passer-by in the very middle
    ],
)
def test_the_main_face_is_large_and_near_the_middle(main: Found, other: Found) -> None:
    for faces in ([main, other], [other, main]):
        assert by_prominence(faces, 250, 250) == [main, other]


def test_prominence_counts_what_is_in_the_picture() -> None:
    whole = prominence(face(0, 0, 100), 100, 100)
    assert whole == pytest.approx(1), "it covers the picture, in its middle"
    assert prominence(face(0, 0, 50), 100, 100, 0.0) == pytest.approx(0.25)
    assert prominence(face(-50, 0, 100), 100, 100, 0.0) == pytest.approx(0.5)
    assert prominence(face(200, 200, 50), 100, 100) == 0
    corner = np.array([0, 0, 1e-3, 1e-3], np.float32)
    share = prominence(Found(corner, LANDMARKS, 1.0), 100, 100, 2.0) / 1e-10
    assert share == pytest.approx(np.exp(-2), rel=1e-3), "the corner is at distance 1"


def test_the_main_face_of_a_photograph_is_aligned(detector: Detector) -> None:
    hopper = portrait_photograph()
    wide = Image.new("RGB", (1000, 500), "grey")
    wide.paste(hopper.resize((300, 350)), (350, 75))
    alone = main_face(detector, array(wide))
    wide.paste(hopper.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((428, 500)), (-180, 0))
    assert len(detector.find(array(wide))) == 2
    chosen = main_face(detector, array(wide))
    assert alone is not None
    assert chosen is not None
    assert np.abs(chosen.astype(float) - alone).mean() < 4
    assert main_face(detector, array(photograph(300, 200))) is None


def test_an_embedding_is_the_mean_of_both_sides() -> None:
    runtime = Runtime(embedding_model(8).SerializeToString(), InputPolicy(), 1)
    chip = array(photograph(SIDE, SIDE))
    other = np.ascontiguousarray(chip[:, ::-1])
    one, two = embed_chips(runtime, [chip, other], mirrored=False)
    assert np.abs(one - two).max() > 1e-4, "the network tells them apart"
    both = embed_chips(runtime, [chip, other], mirrored=True)
    np.testing.assert_allclose(both, [(one + two) / 2] * 2, rtol=1e-5)
