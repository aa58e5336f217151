"""Copying versions between repositories: which objects, in which order.

A reader sees the old state until the copy is complete: first files, then the objects that name them, then signatures,
then tags.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Callable, ContextManager, Dict, Iterable, List, Optional, Sequence, Tuple

from builder import digest
from builder.errors import StoreDamaged, Unreachable, UsageError
from builder.plugins import Repository
from builder.store import oci, transfers, trust
from builder.store.layout import Layout
from builder.store.oci import Descriptor
from builder.store.remotes.folder import Folder
from builder.store.transfers import TRIES, Pace

_DEEPEST, _MOST = 4, 100_000  # of an index within an index; of objects and files behind one tag
_LARGEST_TOLD = (
    256 << 20
)  # bytes of a manifest.json, whose signature is not known yet; that of a thousand cells has 20 MB


def belonging(version: int, tags: Iterable[str]) -> Tuple[str, ...]:
    """The tags of a version: the key statement, its signatures, then itself."""
    known = tuple(tags)
    keys = tuple(tag for tag in known if tag == trust.TAG)
    return (*keys, *sorted(tag for tag in known if tag.startswith(f"v{version}.")), f"v{version}")


def publish(
    store: Layout, tags: Iterable[str], place: Repository, say: Callable[[str], None], pace: Optional[Pace] = None
) -> int:
    """Copy what `tags` name from `store` to `place`.

    Returns how many files and objects were copied. Raises UsageError when a version is there already with different
    content: versions are immutable.
    """
    pace = pace or Pace()
    with store.reading(), reading(place):
        return sum(_publish_tag(store, tag, place, say, pace) for tag in tags)


def reading(place: Repository) -> ContextManager[None]:
    """Hold off collection of files that have no tag yet, in a folder.

    Other repositories are not collected.
    """
    if not isinstance(place, Folder):
        return contextlib.nullcontext()
    place.store.begin()
    return place.store.reading()


def never_changes(tag: str, where: str) -> UsageError:
    """The error for `tag`, a version, that names something else there."""
    return UsageError(
        f"{tag} is there already, and another one: a version never changes",
        where=where,
        hint="publish to another place, or build the next version on a copy of that one",
    )


def _publish_tag(store: Layout, tag: str, place: Repository, say: Callable[[str], None], pace: Pace) -> int:
    here = Folder(str(store.root), {})
    top, there = here.resolve(tag), place.resolve(tag)
    assert top is not None
    if there is not None and there.digest == top.digest:
        return 0
    if there is not None and top.media == oci.INDEX:
        if _are_alike(here, top, place, there):
            return 0
        raise never_changes(tag, place.name)
    if there is not None and tag == trust.TAG and not trust.newer(store, place):
        say(f"the key statement of {place.name} is not older, and stays")
        return 0
    copied: List[Descriptor] = []

    def copy(it: Descriptor) -> None:
        if place.has(it):
            pace.meter.moved(it.size, kept=True)
        else:
            _put(place, it, store, pace)
            pace.meter.moved(it.size)
            copied.append(it)
        pace.meter.done()

    for wave in _waves(closure(here, top)):
        pace.meter.expect(len(wave), sum(it.size for it in wave))
        pace.each(wave, copy)
    place.tag(tag, top)
    say(f"{tag} -> {place.name}")
    return len(copied)


def _are_alike(here: Repository, top: Descriptor, place: Repository, there: Descriptor) -> bool:
    """Whether both indexes name the same objects.

    Tools that copy a version may rewrite its index.
    """
    if there.media != oci.INDEX:
        return False
    _, ours = _told_by(transfers.read(here, top), top, here)
    _, theirs = _told_by(transfers.read(place, there), there, place)
    return [it.digest for it in ours] == [it.digest for it in theirs]


def _put(place: Repository, it: Descriptor, store: Layout, pace: Pace) -> None:
    """Once more when the connection is cut: a place keeps nothing of half a file."""
    for again in range(1, TRIES + 1):
        try:
            place.put(it, store.fetch(it.digest))
            break
        except Unreachable as problem:
            if not problem.passing or again == TRIES:
                raise
        pace.rest(0.25 * 2**again)


def _waves(all_of_it: Sequence[Descriptor]) -> List[List[Descriptor]]:
    """Groups that may be copied at once.

    Files, then manifests, then each index by itself.
    """
    waves = [
        [it for it in all_of_it if not it.is_object],
        [it for it in all_of_it if it.media == oci.MANIFEST],
        *([it] for it in all_of_it if it.media == oci.INDEX),
    ]
    return [wave for wave in waves if wave]


def mirror(place: Repository, tags: Iterable[str], store: Layout, pace: Optional[Pace] = None) -> None:
    """Copy the objects behind `tags`, manifests and signatures, but no artifact, into `store`."""
    pace, here = pace or Pace(), Folder(str(store.root), {})

    def bring(it: Descriptor) -> bytes:
        """Read an object, from `store` if it is there.

        Most are shared with the version before.
        """
        most = transfers.MOST_OBJECT if it.is_object else _LARGEST_TOLD
        if it.size > most:
            said = f"{it.title or it.digest} is said to have {it.size:,} bytes; at most {most:,} are taken"
            raise StoreDamaged(said, where=place.name)
        pace.meter.expect(1, it.size)
        transfers.fetch(place, it, store, pace)
        return store.read(it.digest) if it.is_object else b""

    for tag in tags:
        top = place.resolve(tag)
        if top is None:
            raise UsageError(f"there is no {tag}", where=place.name)
        known = here.resolve(tag)
        if known is not None and known.digest == top.digest:
            continue
        for it in closure(place, top, _about, bring):
            if not it.is_object:
                bring(it)
        here.tag(tag, top)


def _about(it: Descriptor) -> bool:
    """Whether it describes a version or signs it. Other files are fetched on demand."""
    return it.kind not in (oci.ARTIFACT_TYPE, oci.GOLDEN_TYPE) and it.title != oci.PROVENANCE_FILE


def closure(
    place: Repository,
    top: Descriptor,
    wanted: Callable[[Descriptor], bool] = lambda child: True,
    read: Optional[Callable[[Descriptor], bytes]] = None,
) -> List[Descriptor]:
    """Everything below `top` over `wanted` children, each once and after its own.

    `top` is last. `read` gives the verified bytes of an object; without it they come from `place`.
    """
    found: Dict[str, Descriptor] = {}

    def visit(it: Descriptor, depth: int) -> None:
        if it.digest in found:
            return
        if depth > _DEEPEST or len(found) > _MOST:
            raise StoreDamaged(f"{it.digest} leads to too many objects", where=place.name)
        if it.is_object:
            kind, children = _told_by(read(it) if read else transfers.read(place, it), it, place)
            if depth and not it.kind and not wanted(dataclasses.replace(it, kind=kind)):
                return  # the copied index lacks the kinds of its objects, as of skopeo before 1.14
            for child in children:
                if wanted(child):
                    visit(child, depth + 1)
        found[it.digest] = it

    visit(top, 0)
    return list(found.values())


def _told_by(data: bytes, it: Descriptor, place: Repository) -> Tuple[str, List[Descriptor]]:
    """The kind of an object, and its children.

    Objects of an index, config and files of a manifest.
    """
    try:
        body = oci.as_object(digest.loads(data))
    except (ValueError, RecursionError) as problem:
        raise StoreDamaged(f"{it.digest} is not JSON: {problem}", where=place.name) from None
    if it.media == oci.INDEX:
        named = oci.as_list(body.get("manifests"))
    else:
        named = [body.get("config"), *oci.as_list(body.get("layers"))]
    kind = body.get("artifactType")
    return kind if isinstance(kind, str) else "", [oci.read(child) for child in named]
