"""Turns: equal shares of work, no wait behind what others queue, and honest predictions."""

import random
from dataclasses import dataclass

import pytest

from serving.inference.callers import Caller
from serving.inference.fair_queue import FairQueue

Queue = FairQueue[str, "Item"]


@dataclass(eq=False)
class Item:
    """A piece of work in the queue."""

    caller: Caller
    cost: float = 1.0


def fill(queue: Queue, caller: Caller, count: int, cost: float = 1.0, group: str = "a") -> None:
    for _ in range(count):
        queue.put(caller, group, Item(caller, cost))


def served(queue: Queue, most: int = 1) -> list[Item]:
    return queue.take(lambda *_: most)[1]


def test_who_has_little_queued_is_next_whatever_others_have() -> None:
    queue: Queue = FairQueue()
    heavy = [Caller(name) for name in "abcdefgh" for _ in range(2)]
    for caller in heavy:
        fill(queue, caller, 64)
    for round_ in range(10):
        for _ in range(50):
            served(queue)
        light = Caller("light")
        fill(queue, light, 1)
        assert served(queue)[0].caller is light, round_


def test_clients_share_the_work_equally_and_so_do_the_requests_of_one() -> None:
    queue: Queue = FairQueue()
    costly, many, one = Caller("costly"), [Caller("many") for _ in range(3)], Caller("one")
    fill(queue, costly, 100, cost=4.0)
    for caller in many:
        fill(queue, caller, 200, cost=0.5)
    fill(queue, one, 300)
    work = dict.fromkeys([costly, *many, one], 0.0)
    while sum(work.values()) < 600:
        (item,) = served(queue)
        work[item.caller] += item.cost
    assert work[costly] == pytest.approx(200, abs=8)
    assert work[one] == pytest.approx(200, abs=8)
    for caller in many:
        assert work[caller] == pytest.approx(200 / 3, abs=4)


def test_single_pictures_are_served_as_they_came_and_large_requests_do_not_starve() -> None:
    queue: Queue = FairQueue()
    large = Caller("client")
    fill(queue, large, 20)
    waiting = [Caller("client") for _ in range(5)]
    for caller in waiting:
        fill(queue, caller, 1)
    order, left = [], 20
    for _ in range(300):  # as many come as are served
        caller = served(queue)[0].caller
        left -= caller is large
        order += [caller] * (caller is not large)
        waiting.append(Caller("client"))
        fill(queue, waiting[-1], 1)
    assert order == waiting[: len(order)]
    assert left <= 14  # although the server never catches up with the others


def test_time_without_requests_gives_no_claim_to_more_later() -> None:
    queue: Queue = FairQueue()
    early, late = Caller("early"), Caller("late")
    fill(queue, late, 1)
    fill(queue, early, 100)
    for _ in range(50):
        served(queue)
    fill(queue, late, 100)
    callers = [served(queue)[0].caller for _ in range(20)]
    assert callers.count(late) == pytest.approx(10, abs=1)


def test_a_batch_takes_what_others_have_of_its_group() -> None:
    queue: Queue = FairQueue()
    first, second, third = Caller("first"), Caller("second"), Caller("third")
    fill(queue, first, 3)
    fill(queue, second, 2, group="b")
    fill(queue, third, 9)
    assert [item.caller for item in served(queue, 5)] == [first] * 3 + [third] * 2
    assert [item.caller for item in served(queue, 5)] == [second] * 2
    assert len(queue) == 7


def test_what_is_removed_is_not_served() -> None:
    queue: Queue = FairQueue()
    gone, stays = Caller("gone"), Caller("stays")
    fill(queue, gone, 5)
    fill(queue, gone, 5, group="b")
    fill(queue, stays, 2)
    assert queue.remove(gone, lambda _: True) == 10
    assert queue.remove(gone, lambda _: True) == 0
    assert [served(queue)[0].caller for _ in range(2)] == [stays, stays]
    assert len(queue) == 0


def test_the_work_before_an_item_is_predicted() -> None:
    random_ = random.Random(0)
    for _ in range(100):
        queue: Queue = FairQueue()
        callers = [Caller(random_.randrange(4)) for _ in range(12)]
        for caller in callers:
            fill(queue, caller, random_.randrange(100))
        asking = random_.choice(callers)
        predicted = queue.work_before(asking, 1.0)
        last = Item(asking)
        queue.put(asking, "a", last)
        work = 0.0
        while len(queue):
            (item,) = served(queue)
            work += item.cost
            if item is last:
                break
        assert work == pytest.approx(predicted, abs=2 * len(callers))


def test_nothing_is_before_an_item_of_an_empty_queue() -> None:
    assert FairQueue().work_before(Caller("a"), 2.0) == 2.0
