"""A queue in which clients take turns, and the requests of each client within its turns.

What begins first is next, in a virtual time in which all who wait are served at once, each at the
same rate. This is start-time fair queueing (Goyal, Vin and Cheng, "Start-time Fair Queuing: A
Scheduling Algorithm for Integrated Services Packet Switching Networks", 1996) with the virtual time
of WF2Q+ (Bennett and Zhang, "Hierarchical Packet Fair Queueing Algorithms", 1997), and predicted
seconds of work in place of bytes. Who had nothing queued begins earlier by one batch, as in
borrowed virtual time (Duda and Cheriton, 1999). Who sends a picture now and then is therefore
served next, however much the others have queued; those with one picture each are served in the
order in which they came; and a large request goes on, however many small ones come.

Deficit round robin (Shreedhar and Varghese, "Efficient Fair Queuing Using Deficit Round Robin",
1996) is simpler and shares as equally in the long run, but who comes anew waits until all others
have had a turn.
"""

from collections import deque
from collections.abc import Callable, Hashable
from heapq import heappop, heappush
from operator import attrgetter
from typing import Generic, Protocol, TypeVar

from serving.inference.callers import Caller

START = attrgetter("start")
DECAY = 0.98
"""How fast a large batch is forgotten when smaller ones follow."""


class Costed(Protocol):
    """Something that can be queued."""

    @property
    def cost(self) -> float:
        """Predicted seconds of work; never changes while it is queued."""


Item = TypeVar("Item", bound=Costed)
Group = TypeVar("Group", bound=Hashable)


class _Sender:
    """What the queue knows of a client, or of one of its requests."""

    def __init__(self) -> None:
        self.start = 0.0
        """Virtual time at which its next item begins: each item that is taken moves it on."""
        self.backlog = 0.0
        """Seconds of work that are queued."""
        self.count = 0
        """Number of items that are queued."""


Sender = TypeVar("Sender", bound=_Sender)


class _Turns(Generic[Sender]):
    """Clients, or the requests of one, of which that with the earliest start is next."""

    def __init__(self) -> None:
        self._now = 0.0
        """Virtual time."""
        self._batch = 0.0
        """Seconds of work in a batch: the most of the recent ones."""
        self._waiting: dict[Hashable, Sender] = {}
        self._gone: dict[Hashable, float] = {}
        """The starts of those that have nothing queued any more, but were served in advance."""
        self._leaving: list[tuple[float, int, Hashable]] = []  # a heap of what is in `_gone`
        self._left = 0

    def get(self, key: Hashable) -> Sender | None:
        """Return a sender that has something queued."""
        return self._waiting.get(key)

    def join(self, key: Hashable, make: Callable[[], Sender]) -> Sender:
        """Return a sender, for something to be queued.

        Time in which a sender has nothing queued gives it no claim to more later.
        """
        sender = self._waiting.get(key)
        if sender is None:
            sender = self._waiting[key] = make()  # of equal starts, the first to come is next
            sender.start = max(self._gone.pop(key, 0.0), self._now - self._batch)
        return sender

    def in_turn(self) -> list[Sender]:
        """Return the senders that have something queued, in the order of their turns."""
        return sorted(self._waiting.values(), key=START)

    def next(self) -> Sender:
        """Return the sender whose turn it is."""
        chosen = min(self._waiting.values(), key=START)
        self._now = max(self._now, chosen.start)
        while self._leaving and self._leaving[0][0] <= self._now - self._batch:
            start, _, key = heappop(self._leaving)
            if self._gone.get(key) == start:
                del self._gone[key]
        return chosen

    def served(self, key: Hashable, seconds: float) -> None:
        """Account for work that was taken from a sender."""
        self._now += seconds / (len(self._waiting) + len(self._gone))
        self._batch = max(seconds, DECAY * self._batch)
        self._waiting[key].start += seconds
        self.settle(key)

    def settle(self, key: Hashable) -> None:
        """Let a sender go if it has nothing queued any more."""
        sender = self._waiting[key]
        if not sender.count:
            del self._waiting[key]
            self._let_go(key, sender.start)

    def charge(self, key: Hashable, seconds: float) -> None:
        """Move on the start of a sender, also of one that has nothing queued any more."""
        if key in self._waiting:
            self._waiting[key].start += seconds
        elif key in self._gone:
            self._let_go(key, self._gone[key] + seconds)

    def _let_go(self, key: Hashable, start: float) -> None:
        self._gone[key] = start
        self._left += 1
        heappush(self._leaving, (start, self._left, key))

    def work_of_others(self, sender: Sender | None, seconds: float) -> float:
        """Seconds of work for all others until a sender has been served so many seconds."""
        own = min(sender.backlog, seconds) if sender else 0.0
        return sum([min(each.backlog, seconds) for each in self._waiting.values()]) - own


class _Request(_Sender, Generic[Group, Item]):
    def __init__(self, caller: Caller) -> None:
        super().__init__()
        self.caller = caller
        self.groups: dict[Group, deque[Item]] = {}  # in the order of their oldest item


class _Client(_Sender, Generic[Group, Item]):
    def __init__(self) -> None:
        super().__init__()
        self.requests: _Turns[_Request[Group, Item]] = _Turns()


class FairQueue(Generic[Group, Item]):
    """Items of many callers; those of one group can be taken together. It needs a lock around it.

    Within a request, the group whose first item has waited longest comes first, and the rest of
    a group that was taken from goes to the end.
    """

    def __init__(self) -> None:
        self._clients: _Turns[_Client[Group, Item]] = _Turns()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, caller: Caller, group: Group, item: Item) -> None:
        """Add an item."""
        client = self._clients.join(caller.client, _Client)
        request = client.requests.join(caller, lambda: _Request(caller))
        request.groups.setdefault(group, deque()).append(item)
        self._count += 1
        for sender in (client, request):
            sender.count += 1
            sender.backlog += item.cost

    def take(self, most: Callable[[Group, Item], int]) -> tuple[Group, list[Item]]:
        """Take items of one group: first of the request whose turn it is, then of the next.

        Args:
            most: how many items of a group may be taken together, at least 1; gets its first item.
        """
        first = self._clients.next()
        request = first.requests.next()
        group = next(iter(request.groups))
        room = most(group, request.groups[group][0])
        items = self._take_from(first, request, group, room)
        if len(items) < room:
            items += self._fill(group, room - len(items))
        if not self._count:
            self._clients = _Turns()
        return group, items

    def charge(self, caller: Caller, seconds: float) -> None:
        """Correct what an item that was taken was predicted to cost."""
        client = self._clients.get(caller.client)
        if client is not None:
            client.requests.charge(caller, seconds)
        self._clients.charge(caller.client, seconds)

    def remove(self, caller: Caller, unwanted: Callable[[Item], bool]) -> int:
        """Remove some of the items of a caller; returns how many there were."""
        client = self._clients.get(caller.client)
        request = client.requests.get(caller) if client else None
        if client is None or request is None:
            return 0
        removed: list[Item] = []
        for group, items in list(request.groups.items()):
            removed += filter(unwanted, items)
            kept = deque(item for item in items if not unwanted(item))
            if kept:
                request.groups[group] = kept
            else:
                del request.groups[group]
        self._forget(client, request, removed)
        client.requests.settle(caller)
        self._clients.settle(caller.client)
        return len(removed)

    def work_before(self, caller: Caller, cost: float) -> float:
        """Seconds of work that will be done until an item that the caller adds now is done.

        When a sender has been served so much, each other has been served as much, or all that it
        has queued; what others add meanwhile is not known.

        Args:
            caller: adds the item.
            cost: of the item.
        """
        client = self._clients.get(caller.client)
        if client is not None:
            own = client.requests.get(caller)
            cost += own.backlog if own else 0.0
            cost += client.requests.work_of_others(own, cost)
        return cost + self._clients.work_of_others(client, cost)

    def _fill(self, group: Group, room: int) -> list[Item]:
        """Take items of a group from all requests in the order of their turns."""
        items: list[Item] = []
        for client in self._clients.in_turn():
            for request in client.requests.in_turn():
                if group in request.groups:
                    items += self._take_from(client, request, group, room - len(items))
                if len(items) == room:
                    return items
        return items

    def _take_from(
        self,
        client: _Client[Group, Item],
        request: _Request[Group, Item],
        group: Group,
        most: int,
    ) -> list[Item]:
        waiting = request.groups.pop(group)
        items = [waiting.popleft() for _ in range(min(most, len(waiting)))]
        if waiting:
            request.groups[group] = waiting
        cost = self._forget(client, request, items)
        client.requests.served(request.caller, cost)
        self._clients.served(request.caller.client, cost)
        return items

    def _forget(
        self,
        client: _Client[Group, Item],
        request: _Request[Group, Item],
        items: list[Item],
    ) -> float:
        """Count items as no longer queued; returns their cost."""
        cost = sum(item.cost for item in items)
        self._count -= len(items)
        for sender in (client, request):
            sender.count -= len(items)
            sender.backlog = sender.backlog - cost if sender.count else 0.0
        return cost
