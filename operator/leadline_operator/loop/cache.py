"""What the API server last told us: objects by kind, found again by the ModelDeployment that they belong to.

Fed by watch events, by our own writes' answers and by the sweeper's lists. An object never goes back to an older
version: the answer of a write may arrive before the watch event of the write before it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from leadline_api import names

from leadline_operator.specs.metadata import Manifest


class Key(NamedTuple):
    """A ModelDeployment's namespace and name: what is queued."""

    namespace: str
    name: str


class Cache:
    """Objects by kind, namespace and name."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[Key, Manifest]] = defaultdict(dict)
        self._children: dict[Key, set[tuple[str, Key]]] = defaultdict(set)

    def observe(self, kind: str, live: Manifest, *, deleted: bool = False) -> Key | None:
        """Take note of one object; return the key to queue where something changed."""
        at, key = _at(live), key_of(kind, live)
        objects = self._objects[kind]
        known = objects.get(at)
        before = key_of(kind, known) if known is not None else None
        if known is not None and before is not None and before != key and _version(live) >= _version(known):
            # Relabelled by hand: it is the old one's no more.
            del objects[at]
            self._unlink(before, kind, at)
            known = None
            if key is None or deleted:
                return before
        if key is None:
            return None
        if known is not None and _version(live) < _version(known):
            return None
        if deleted:
            objects.pop(at, None)
            self._unlink(key, kind, at)
            return key
        if known is not None and _version(live) == _version(known):
            return None
        live["metadata"].pop("managedFields", None)
        objects[at] = live
        self._children[key].add((kind, at))
        return None if known is not None and _tells_nothing_new(kind, known, live) else key

    def replace_all(self, kind: str, lives: Iterable[Manifest], version: str) -> set[Key]:
        """Take a whole list, made at a resourceVersion, as what there is; return the keys of what had been missed."""
        missed: set[Key] = set()
        listed: set[Key] = set()
        for live in lives:
            listed.add(_at(live))
            key = self.observe(kind, live)
            if key is not None:
                missed.add(key)
        for at, live in list(self._objects[kind].items()):
            # One that is newer than the list came after it was made.
            if at not in listed and _version(live) <= int(version):
                key = self.observe(kind, live, deleted=True)
                if key is not None:
                    missed.add(key)
        return missed

    def _unlink(self, key: Key, kind: str, at: Key) -> None:
        children = self._children.get(key, set())
        children.discard((kind, at))
        if not children:
            self._children.pop(key, None)

    def get(self, kind: str, key: Key) -> Manifest | None:
        """Return one object."""
        return self._objects[kind].get(key)

    def keys(self) -> tuple[Key, ...]:
        """Return the keys of all ModelDeployments."""
        return tuple(self._objects[names.KIND])

    def children(self, key: Key, kind: str) -> Iterator[Manifest]:
        """Yield the objects of a kind that belong to a ModelDeployment."""
        for child_kind, at in self._children.get(key, ()):
            if child_kind == kind:
                yield self._objects[kind][at]


def key_of(kind: str, live: Manifest) -> Key | None:
    """Return the key of the ModelDeployment that an object is, or says that it belongs to."""
    metadata = live["metadata"]
    if kind == names.KIND:
        return Key(metadata["namespace"], metadata["name"])
    name = (metadata.get("labels") or {}).get(names.DEPLOYMENT_LABEL)
    return Key(metadata["namespace"], name) if name else None


def _tells_nothing_new(kind: str, known: Manifest, live: Manifest) -> bool:
    """Tell whether only measurements of an autoscaler changed, as they do every 15 s: nothing follows from them."""
    return kind == "HorizontalPodAutoscaler" and _but_measurements(known) == _but_measurements(live)


def _but_measurements(autoscaler: Manifest) -> Manifest:
    metadata = {**autoscaler["metadata"], "resourceVersion": ""}
    return {**autoscaler, "metadata": metadata, "status": {**(autoscaler.get("status") or {}), "currentMetrics": None}}


def is_owned(live: Manifest, uid: str) -> bool:
    """Tell whether a ModelDeployment controls an object; a label alone proves nothing."""
    return any(
        each.get("controller") and each.get("uid") == uid for each in live["metadata"].get("ownerReferences") or ()
    )


def _at(live: Manifest) -> Key:
    return Key(live["metadata"].get("namespace", ""), live["metadata"]["name"])


def _version(live: Manifest) -> int:
    """Return the resourceVersion as a number: Kubernetes promises since 1.35 that it grows within a kind."""
    version = live["metadata"].get("resourceVersion") or "0"
    return int(version) if version.isdecimal() else 0
