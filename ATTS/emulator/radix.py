"""The radix cache of an emulated server: which beginnings of prompts are in its memory."""

import heapq
import itertools
from collections.abc import Sequence


class Node:
    """A run of tokens behind its parent's. ``pins``: running requests whose prompts go through it."""

    __slots__ = ("children", "edge", "parent", "pins", "used")

    def __init__(self, edge: list[int], parent: "Node | None", used: int, pins: int = 0) -> None:
        self.edge = edge
        self.parent = parent
        self.children: dict[int, Node] = {}
        self.used = used
        self.pins = pins


class RadixCache:
    """A tree of token runs. When room is needed, ends of what was used longest ago leave first.

    ``size`` counts all tokens in it and ``pinned`` those that running requests stand on, which
    can't leave. ``capacity`` 0: nothing is kept.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        self.pinned = 0
        self._root = Node([], None, 0)
        self._clock = itertools.count(1)
        self._order = itertools.count()
        self._leaves: list[tuple[int, int, Node]] = []  # by last use; entries of before a later use are stale

    def match(self, ids: Sequence[int]) -> int:
        """How many leading tokens of ``ids`` are known."""
        return self._walk(ids)[2]

    def match_pinned(self, ids: Sequence[int]) -> int:
        """How many leading tokens of ``ids`` running requests stand on, so that they take no more room."""
        node, into, length = self._walk(ids)
        at: Node | None = node
        while at is not None and not at.pins:
            length -= into or len(at.edge)
            at, into = at.parent, 0
        return length

    def insert(self, ids: Sequence[int]) -> None:
        """Takes ``ids`` in, and drops others, or of ``ids`` the end, where the capacity demands it."""
        node, into, at = self._walk(ids)
        if into:
            node = self._split(node, into)
        self.insert_behind(node, ids[at:])

    def insert_behind(self, node: Node, ids: Sequence[int]) -> None:
        """As :meth:`insert`, of what stands behind a pinned node."""
        if self.capacity and ids:
            node, into, at = self._walk(ids, node)
            if into:
                node = self._split(node, into)
            if at < len(ids):
                self._touch(self._add(node, ids[at:]))
            self.evict(self.size - self.capacity)

    def pin(self, ids: Sequence[int]) -> tuple[Node, int]:
        """Keeps what is known of ``ids`` until :meth:`unpin` of the node. Also says how many tokens that is."""
        node, into, length = self._walk(ids)
        if into:
            node = self._split(node, into)
        at: Node | None = node
        while at is not None:
            if at.pins == 0:
                self.pinned += len(at.edge)
            at.pins += 1
            at = at.parent
        return node, length

    def extend(self, pin: Node, ids: Sequence[int]) -> Node:
        """Takes in ``ids``, which are not known behind ``pin``, and moves the pin to their end. The
        caller has made the room."""
        if not ids:
            return pin
        node = self._add(pin, ids)
        node.pins = 1
        self.pinned += len(ids)
        return node

    def unpin(self, node: Node) -> None:
        """A request behind this prefix has ended; it may be evicted."""
        at: Node | None = node
        while at is not None:
            at.pins -= 1
            if at.pins == 0:
                self.pinned -= len(at.edge)
            at = at.parent
        self._touch(node)

    def evict(self, tokens: int) -> None:
        """Drops up to ``tokens`` tokens that nobody stands on."""
        while tokens > 0 and self._leaves:
            used, _, node = self._leaves[0]
            if node.parent is None or node.children or node.pins or node.used != used:
                heapq.heappop(self._leaves)
                continue
            most = min(tokens, len(node.edge))
            if most == len(node.edge):
                heapq.heappop(self._leaves)
                parent, node.parent = node.parent, None
                del parent.children[node.edge[0]]
                if not parent.children and parent.parent is not None and not parent.pins:
                    heapq.heappush(self._leaves, (parent.used, next(self._order), parent))
            else:
                del node.edge[-most:]
            self.size -= most
            tokens -= most

    def _walk(self, ids: Sequence[int], node: Node | None = None) -> tuple[Node, int, int]:
        """Where ``ids`` lead: the last node, or the child in which they end and how far into it; how far in all."""
        node, at, used = node or self._root, 0, next(self._clock)
        while at < len(ids):
            child = node.children.get(ids[at])
            if child is None:
                break
            self._touch(child, used)
            edge = child.edge
            known = list(ids[at : at + len(edge)])
            if known != edge:
                into = next((i for i, (a, b) in enumerate(zip(known, edge, strict=False)) if a != b), len(known))
                return child, into, at + into
            node, at = child, at + len(edge)
        return node, 0, at

    def _add(self, node: Node, ids: Sequence[int]) -> Node:
        leaf = Node(list(ids), node, node.used)
        node.children[ids[0]] = leaf
        self.size += len(leaf.edge)
        return leaf

    def _split(self, node: Node, at: int) -> Node:
        """Cuts ``node`` in two; who stands on it stands on both. Returns the upper one."""
        assert node.parent is not None
        upper = Node(node.edge[:at], node.parent, node.used, node.pins)
        node.parent.children[upper.edge[0]] = upper
        node.edge = node.edge[at:]
        node.parent = upper
        upper.children[node.edge[0]] = node
        return upper

    def _touch(self, node: Node, used: int | None = None) -> None:
        node.used = next(self._clock) if used is None else used
        if not node.children and not node.pins and node.parent is not None:
            heapq.heappush(self._leaves, (node.used, next(self._order), node))
