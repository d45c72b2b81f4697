"""Batching of requests: the same answers, isolated failures, no abandoned work."""

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, current_thread
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from artifacts import InputPolicy, Runtime
from artifacts.pictures import Picture
from artifacts.provenance import cores
from artifacts.runtime import CPU_BATCH_BYTES, Outputs
from serving.inference.callers import Caller, current_caller
from serving.inference.in_flight import InFlight
from serving.inference.scheduler import Scheduler
from serving.observability import metrics
from serving.problems import RequestError
from tests.graphs import one_at_a_time, tiny_model
from tests.pictures import encoded, photograph

SIZES = [(32, 32), (32, 20), (20, 32), (97, 131), (48, 48), (24, 24), (300, 200), (8, 8)]


class Recorded(Runtime):
    """A runtime that keeps the shapes of its batches, and begins none while its gate is closed."""

    def __init__(
        self,
        graph: onnx.ModelProto,
        *,
        shared: Path | None = None,
        policy: InputPolicy | None = None,
    ) -> None:
        name = graph.graph.name
        super().__init__(graph.SerializeToString(), policy or InputPolicy(), 1, name, shared=shared)
        self.spread: list[bool] = []
        self.batches: list[tuple[int, ...]] = []
        self.threads: list[str] = []
        self.reached = Event()
        self.gate = Event()

    def run_batch(
        self, images: Picture, names: Sequence[str] | None = None, *, spread: bool = False
    ) -> Outputs:
        self.spread.append(spread)
        self.batches.append(images.shape)
        self.threads.append(current_thread().name)
        self.reached.set()
        assert self.gate.wait(60)
        return super().run_batch(images, names, spread=spread)


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Scheduler]:
    scheduler = Scheduler(1, InFlight(tmp_path))
    yield scheduler
    scheduler.close()


def pixels(height: int, width: int, seed: int) -> Picture:
    return np.random.default_rng(seed).integers(0, 200, (height, width, 3), np.uint8)


def poisonable_model() -> onnx.ModelProto:
    """Gives the red value of the first pixel from a table of 200: above, the batch fails."""
    values = {
        "zero": np.array([0, 0, 0], np.int64),
        "one": np.array([1, 1, 1], np.int64),
        "axes": np.array([1, 2, 3], np.int64),
        "table": np.arange(200, dtype=np.float32)[:, None],
    }
    nodes = [
        helper.make_node("Slice", ["images", "zero", "one", "axes"], ["pixel"]),
        helper.make_node("Squeeze", ["pixel", "axes"], ["red"]),
        helper.make_node("Cast", ["red"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "poisonable",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


async def occupy(scheduler: Scheduler, runtime: Recorded) -> "asyncio.Task[Any]":
    """Keep the lane busy until the gate opens, so that later requests queue up."""
    busy = asyncio.create_task(scheduler.run(runtime, [pixels(8, 8, 0)], ["logits"]))
    await asyncio.to_thread(runtime.reached.wait, 60)
    return busy


def test_200_pictures_of_mixed_sizes_at_once_get_the_answers_they_get_alone(
    http: httpx.Client,
) -> None:
    pictures = [encoded(photograph(*SIZES[i % len(SIZES)], i)) for i in range(200)]

    def shares(picture: bytes) -> dict[str, float]:
        response = http.post("/v1/models/tiny/classify", content=picture)
        assert response.status_code == 200
        return {p["class"]: p["probability"] for p in response.json()["pictures"][0]["top"]}

    alone = [shares(picture) for picture in pictures]
    with ThreadPoolExecutor(64) as pool:
        together = list(pool.map(shares, pictures))
    assert together == [pytest.approx(expected, abs=1e-4) for expected in alone]
    assert len({tuple(sorted(answer.items())) for answer in alone}) > 190  # no two alike


@pytest.mark.parametrize("lanes", [1, 2])
def test_quick_batches_stay_on_the_event_loop_where_there_is_one_lane(
    lanes: int, tmp_path: Path
) -> None:
    scheduler = Scheduler(lanes, InFlight(tmp_path))
    runtime = Recorded(tiny_model())
    runtime.gate.set()
    large = 2048

    async def ask() -> list[Outputs]:
        sides = [8, 8, 8, large, large]  # the pace is known from the first batch on
        return [
            await scheduler.run(runtime, [pixels(side, side, i)], ["logits"])
            for i, side in enumerate(sides)
        ]

    answers = asyncio.run(ask())
    alone = Runtime(tiny_model().SerializeToString(), InputPolicy(), threads=1)
    for i, (side, answer) in enumerate(zip([8, 8, 8, large, large], answers, strict=True)):
        expected = alone.run([pixels(side, side, i)], ["logits"])["logits"]
        np.testing.assert_allclose(answer["logits"], expected, atol=1e-4)
    scheduler.close()
    here = current_thread().name
    on_the_loop = [name == here for name in runtime.threads]
    assert not on_the_loop[0]
    assert on_the_loop[4] is False  # 12 million bytes are slow
    assert (True in on_the_loop[1:3]) is (lanes == 1)


@pytest.mark.skipif(cores() == 1, reason="one core has nothing to spread over")
def test_a_request_that_is_alone_at_all_workers_takes_all_cores(tmp_path: Path) -> None:
    runtime = Recorded(tiny_model(), shared=tmp_path)
    runtime.gate.set()
    picture = pixels(2048, 2048, 0)
    other = InFlight(tmp_path, 2, 2)
    scheduler = Scheduler(1, InFlight(tmp_path, 1, 2))

    async def ask() -> list[npt.NDArray[np.float32]]:
        # the pace is known from the first batch on; then another worker has a request for a time
        found = [await scheduler.run(runtime, [picture], ["logits"]) for _ in range(2)]
        other.enter()
        found.append(await scheduler.run(runtime, [picture], ["logits"]))
        other.leave()
        found.append(await scheduler.run(runtime, [picture], ["logits"]))
        return [answer["logits"] for answer in found]

    answers = asyncio.run(ask())
    scheduler.close()
    assert runtime.spread == [False, True, False, True]
    for answer in answers:
        np.testing.assert_allclose(answer, answers[0], atol=1e-4)
    InFlight(tmp_path, 1, 2)  # a worker that is started anew
    assert not other.alone


def test_what_queued_up_shares_batches_by_shape(scheduler: Scheduler) -> None:
    runtime = Recorded(tiny_model())
    shapes = [(16, 24), (24, 16)]
    pictures = [pixels(*shapes[i % 2], i) for i in range(20)]

    async def ask() -> list[Outputs]:
        busy = await occupy(scheduler, runtime)
        requests = [
            asyncio.create_task(scheduler.run(runtime, [picture], ["logits"]))
            for picture in pictures
        ]
        await asyncio.sleep(0)
        runtime.gate.set()
        await busy
        return await asyncio.gather(*requests)

    answers = asyncio.run(ask())
    assert runtime.batches[1:] == [(10, 16, 24, 3), (10, 24, 16, 3)]
    for picture, answer in zip(pictures, answers, strict=True):
        expected = runtime.run([picture], ["logits"])["logits"]
        np.testing.assert_allclose(answer["logits"], expected, atol=1e-4)


def test_a_graph_of_one_picture_gets_no_batches(scheduler: Scheduler) -> None:
    runtime = Recorded(one_at_a_time(), policy=InputPolicy(batch="one"))
    sent = [pixels(16, 24, i) for i in range(5)]

    async def ask() -> Outputs:
        runtime.gate.set()
        return await scheduler.run(runtime, sent, ["logits"])

    answers = asyncio.run(ask())
    assert runtime.batches == [(1, 16, 24, 3)] * 5
    np.testing.assert_allclose(
        answers["logits"], runtime.run(sent, ["logits"])["logits"], atol=1e-5
    )


def test_a_batch_has_a_budget_and_no_shape_waits_for_another_to_end(scheduler: Scheduler) -> None:
    runtime = Recorded(tiny_model())
    many = [pixels(32, 32, i) for i in range(100)]

    async def ask() -> None:
        busy = await occupy(scheduler, runtime)
        crowd = asyncio.create_task(scheduler.run(runtime, many, ["logits"]))
        late = asyncio.create_task(scheduler.run(runtime, [pixels(24, 24, 0)], ["logits"]))
        await asyncio.sleep(0)
        runtime.gate.set()
        await asyncio.gather(busy, crowd, late)

    asyncio.run(ask())
    sizes = [batch[0] * 32 * 32 * 3 for batch in runtime.batches[1:] if batch[1] == 32]
    assert max(sizes) <= CPU_BATCH_BYTES
    assert runtime.batches[2] == (1, 24, 24, 3)


def test_a_picture_that_fails_fails_alone(scheduler: Scheduler) -> None:
    runtime = Recorded(poisonable_model())
    slow = Recorded(tiny_model())
    pictures = [pixels(16, 16, i) for i in range(12)]
    pictures[5] = np.full((16, 16, 3), 255, np.uint8)
    runtime.gate.set()

    async def ask() -> list[Any]:
        busy = await occupy(scheduler, slow)
        asked = [*([picture] for picture in pictures), [pictures[0], pictures[5]]]
        requests = [asyncio.create_task(scheduler.run(runtime, p, ["logits"])) for p in asked]
        await asyncio.sleep(0)
        slow.gate.set()
        await busy
        return await asyncio.gather(*requests, return_exceptions=True)

    *answers, pair = asyncio.run(ask())
    assert runtime.batches[0][0] == 14  # they were in one batch
    assert isinstance(pair, Exception)
    assert isinstance(answers.pop(5), Exception)
    found = [answer["logits"].item() for answer in answers]
    assert found == [float(p[0, 0, 0]) for i, p in enumerate(pictures) if i != 5]
    # counted once, as one batch, though each of its pictures was run again by itself
    assert b'\nvitrine_batch_pictures_sum{model="poisonable"} 14.0\n' in metrics.text((), ())
    assert b'\nvitrine_batch_pictures_count{model="poisonable"} 1.0\n' in metrics.text((), ())


def test_a_cancelled_request_leaves_the_queue(scheduler: Scheduler) -> None:
    runtime = Recorded(tiny_model())

    async def ask() -> Outputs:
        busy = await occupy(scheduler, runtime)
        given_up = asyncio.create_task(
            scheduler.run(runtime, [pixels(16, 16, i) for i in range(50)], ["logits"])
        )
        await asyncio.sleep(0)
        assert scheduler.queued == 50
        assert b"\nvitrine_queued_pictures 50.0\n" in metrics.text((), ())
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert scheduler.queued == 0
        assert b"\nvitrine_queued_pictures 0.0\n" in metrics.text((), ())
        runtime.gate.set()
        await busy
        return await scheduler.run(runtime, [pixels(16, 16, 0)], ["logits"])

    assert asyncio.run(ask())["logits"].shape == (1, 3)
    assert runtime.batches == [(1, 8, 8, 3), (1, 16, 16, 3)]


def asking(
    scheduler: Scheduler, caller: Caller, runtime: Runtime, count: int
) -> "asyncio.Task[Outputs]":
    """A request of a caller for so many pictures."""
    token = current_caller.set(caller)
    pictures = [pixels(224, 224, i) for i in range(count)]
    task = asyncio.create_task(scheduler.run(runtime, pictures, ["logits"]))
    current_caller.reset(token)
    return task


def test_a_single_picture_goes_between_those_of_a_large_request(scheduler: Scheduler) -> None:
    runtime = Recorded(tiny_model())

    async def ask() -> list[str]:
        busy = await occupy(scheduler, runtime)
        order: list[str] = []
        tasks = []
        for name, count in (("large", 40), ("large", 40), ("small", 1)):
            task = asking(scheduler, Caller(name), runtime, count)
            task.add_done_callback(lambda _, name=name: order.append(name))
            tasks.append(task)
        await asyncio.sleep(0)
        runtime.gate.set()
        await asyncio.gather(busy, *tasks)
        return order

    assert asyncio.run(ask()) == ["small", "large", "large"]


def test_what_is_late_is_not_computed(scheduler: Scheduler) -> None:
    runtime = Recorded(tiny_model())

    async def ask() -> None:
        busy = await occupy(scheduler, runtime)
        late = asking(scheduler, Caller("late", deadline=time.monotonic()), runtime, 5)
        timely = asking(scheduler, Caller("timely", deadline=math.inf), runtime, 1)
        await asyncio.sleep(0)
        runtime.gate.set()
        await asyncio.gather(busy, timely)
        late.cancel()
        await asyncio.wait([late])

    asyncio.run(ask())
    assert len(runtime.batches) == 2
    assert scheduler.queued == 0


def test_a_request_that_would_be_late_is_refused_at_once(scheduler: Scheduler) -> None:
    runtime = Recorded(tiny_model())
    runtime.gate.set()

    async def ask() -> None:
        scheduler.check_wait(runtime, 10**9)  # nothing is known yet
        for _ in range(2):  # a lane records the cost of a batch after its answers
            await scheduler.run(runtime, [pixels(8, 8, 0)], ["logits"])
        scheduler.check_wait(runtime, 10**9)  # who has no deadline is never late
        current_caller.set(Caller("client", time.monotonic() + 60))
        scheduler.check_wait(runtime)
        with pytest.raises(RequestError) as caught:
            scheduler.check_wait(runtime, 10**9)
        assert caught.value.code == "answer-too-late"
        assert caught.value.retry_after > 1

    asyncio.run(ask())
