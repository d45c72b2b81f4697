"""OpenVINO in place of ONNX Runtime; runs it if the extra is installed."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from artifacts import Artifact, ArtifactError, Runtime, VitrineError
from artifacts.sessions import OpenVinoSession
from serving.inference import results, runtimes
from serving.inference.served_model import ServedModel
from serving.inspection import looks
from tests.graphs import tiny_artifact
from tests.pictures import photograph

TOLERANCE = 0.1
"""Of logits around 10: bfloat16 has 8 significant bits."""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return tiny_artifact(tmp_path_factory.mktemp("models"))


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="the extra openvino (180 MB) is not installed")
    monkeypatch.setenv("VITRINE_RUNTIME", "openvino")


@pytest.mark.usefixtures("chosen")
def test_mixed_sizes_at_once_are_answered_as_by_onnx_runtime(artifact: Artifact) -> None:
    served = ServedModel(artifact, threads=1, calls=2).runtime
    assert served.provider in {"OpenVINO bf16", "OpenVINO f32"}
    usual = Runtime.open(artifact, threads=1)
    assert served.output_names == usual.output_names
    sizes = [(16 + i % 9, 16 + i % 7) for i in range(60)]
    pictures = [np.asarray(photograph(w, h, i)) for i, (w, h) in enumerate(sizes)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda p: served.run([p], ["logits"])["logits"][0], pictures))
    again = served.run(pictures, ["logits"])["logits"]
    np.testing.assert_allclose(found, again, atol=1e-4)  # no request got the answer of another
    expected = usual.run(pictures, ["logits"])["logits"]
    assert np.ptp(expected, axis=0).min() > 5 * TOLERANCE  # the pictures differ more
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


@pytest.mark.usefixtures("chosen")
def test_answers_say_what_ran(artifact: Artifact) -> None:
    model = ServedModel(artifact, threads=1)
    pictures = [np.asarray(photograph(20, 24, 0))]
    prepared = [model.runtime.prepare_and_tell(picture) for picture in pictures]
    assert results.classify(model, prepared, 1).provider.startswith("OpenVINO ")
    assert looks.inspect(model, pictures).provider == "CPUExecutionProvider"


@pytest.mark.usefixtures("chosen")
def test_a_model_that_would_answer_otherwise_stays(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runtimes, "MAX_DIFFERENCE", -1.0)
    monkeypatch.setattr(runtimes.log, "propagate", True)
    assert "OpenVINO" not in runtimes.open_runtime(artifact, 1).provider
    assert "stays on ONNX Runtime: OpenVINO" in caplog.text


@pytest.mark.usefixtures("chosen")
def test_a_graph_that_openvino_refuses_has_a_reason(artifact: Artifact) -> None:
    with pytest.raises(ArtifactError, match="OpenVINO refuses the graph"):
        Runtime(b"no graph", artifact.manifest.input, engine=partial(OpenVinoSession, calls=2))


def test_where_it_is_not_installed_it_is_refused_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VITRINE_RUNTIME", "openvino")
    monkeypatch.setattr("artifacts.devices.find_spec", lambda _: None)
    with pytest.raises(VitrineError, match=r"pip install .*\[serve,openvino\]"):
        runtimes.chosen_runtime()


def test_an_unknown_runtime_is_refused_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "serving", "run"],
        env={**os.environ, "VITRINE_RUNTIME": "tensorrt"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: VITRINE_RUNTIME=tensorrt: onnxruntime or openvino is expected."
    ]
