"""Signatures, statements and benchmark records beside a version.

A version is immutable, so these are objects of their own in index.json. Their tags begin with the version's tag, and
copies take them along.

    v3.KEY.minisig                   a signature; `builder/store/trust.py` verifies it
    v3.intoto, v3.sbom               statements; `builder/store/attestations.py` makes them
    v3.bench.9f86d081                a measurement record
      layer bench.json                 the record (`builder/host/bench_records.py`)
      layer bench.json.KEY.minisig     its signature, if any
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from builder.errors import StoreDamaged
from builder.store import oci, transfers, versions
from builder.store.layout import Layout

SIGNATURE_FILE = "manifest.json.minisig"
MOST_BYTES = 4096  # of a signature; a larger one is none


def attach_signature(store: Layout, version: int, key_name: str, text: str) -> None:
    """Put a signature beside `version`, replacing one by the same key."""
    file = store.put_bytes(SIGNATURE_FILE, text.encode())
    about = versions.manifest_object(store, version)
    made = oci.put_manifest(store, oci.SIGNATURE_TYPE, (file,), {"dev.deploymatrix.key": key_name}, about)
    oci.put(store, f"v{version}.{key_name}.minisig", oci.descriptor(made, oci.MANIFEST, oci.SIGNATURE_TYPE))


def signatures_of(store: Layout, version: int) -> Tuple[str, ...]:
    """The unverified signatures of `version`. Errors as `versions.read`."""
    about = oci.digest_of(versions.manifest_object(store, version))
    found = []
    for tag, item in oci.all_of(store).items():
        if not (tag.startswith(f"v{version}.") and tag.endswith(".minisig")):
            continue  # by the tag: a copy by another program may lack the kind
        signature = oci.load(store, oci.digest_of(item))
        layers = oci.as_list(signature.get("layers"))
        if layers and oci.digest_of(signature.get("subject")) == about:
            named = oci.digest_of(layers[0])
            if store.fetch(named).stat().st_size <= MOST_BYTES:
                found.append(store.read(named).decode("utf-8", errors="replace"))
    return tuple(found)


# ------------------------------------------------------------------------------------------- statements


def attach_statement(store: Layout, version: int, what: str, kind: str, name: str, data: bytes) -> str:
    """Put a file beside `version`, replacing an earlier `what`.

    Returns its tag. The caller holds the store.
    """
    about = versions.manifest_object(store, version)
    made = oci.put_manifest(store, kind, (store.put_bytes(name, data),), {}, about)
    tag = f"v{version}.{what}"
    oci.put(store, tag, oci.descriptor(made, oci.MANIFEST, kind))
    return tag


def statements_of(store: Layout, version: int, what: str) -> Optional[bytes]:
    """The statement `what`.

    None for none. Raises StoreDamaged, also for another subject.
    """
    tagged = oci.find(store, f"v{version}.{what}")
    if tagged is None:
        return None
    found = oci.load(store, oci.digest_of(tagged))
    if oci.digest_of(found.get("subject")) != oci.digest_of(versions.manifest_object(store, version)):
        raise StoreDamaged(f"v{version}.{what} is about something else", where=str(store.root))
    layers = oci.as_list(found.get("layers"))
    named = oci.digest_of(layers[0] if layers else None)
    if store.fetch(named).stat().st_size > transfers.MOST_OBJECT:
        raise StoreDamaged(f"v{version}.{what} is larger than {transfers.MOST_OBJECT:,} bytes", where=str(store.root))
    return store.read(named)


# ------------------------------------------------------------------------------------------- measurement records


BENCH_FILE = "bench.json"
_MOST = 4 << 20  # bytes of a record


@dataclass(frozen=True)
class OfferedBench:
    """A record and its unverified signatures."""

    tag: str
    data: bytes
    signatures: Tuple[str, ...]


def attach_bench(store: Layout, version: int, tag: str, data: bytes, signature: Optional[Tuple[str, str]]) -> None:
    """Put a record and its signature (key's name, text) beside `version`.

    The caller holds the store.
    """
    files = [store.put_bytes(BENCH_FILE, data)]
    if signature is not None:
        key, text = signature
        files.append(store.put_bytes(f"{BENCH_FILE}.{key}.minisig", text.encode()))
    about = versions.manifest_object(store, version)
    made = oci.put_manifest(store, oci.BENCH_TYPE, tuple(files), {}, about)
    oci.put(store, tag, oci.descriptor(made, oci.MANIFEST, oci.BENCH_TYPE))


def benches_of(store: Layout, version: int) -> Tuple[OfferedBench, ...]:
    """Every record about `version`. Raises StoreDamaged."""
    found = []
    for tag, item in oci.all_of(store).items():
        if tag.startswith(f"v{version}.bench."):
            layers = oci.as_list(oci.load(store, oci.digest_of(item)).get("layers"))
            if not layers or any(_size(layer) > _MOST for layer in layers):
                raise StoreDamaged(f"{tag} holds no record", where=str(store.root))
            data, *texts = [store.read(oci.digest_of(layer)) for layer in layers[:16]]
            found.append(OfferedBench(tag, data, tuple(text.decode("utf-8", errors="replace") for text in texts)))
    return tuple(found)


def _size(layer: object) -> int:
    size = layer.get("size") if isinstance(layer, dict) else None
    return size if isinstance(size, int) else _MOST + 1
