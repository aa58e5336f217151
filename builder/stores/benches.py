"""Measurement records beside the versions of a store: OCI objects whose subject is the version's manifest.

    v3.bench.9f86d081                OCI manifest
      layer bench.json                 the record (`builder/benchmark/bench_record.py`)
      layer bench.json.KEY.minisig     its signature, if any

Like signatures they are tagged below their version, and travel with it. What they are worth is decided by who reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from builder import descriptor
from builder.errors import StoreDamaged
from builder.stores import oci, tags, versions
from builder.stores.layout import Layout

FILE = "bench.json"
_MOST = 4 << 20  # bytes of a record


@dataclass(frozen=True)
class Offered:
    """A record as it lies there: its bytes, and texts that say they are signatures of it."""

    tag: str
    data: bytes
    signatures: Tuple[str, ...]


def attach(store: Layout, version: int, tag: str, data: bytes, signature: Optional[Tuple[str, str]]) -> None:
    """Put a record, and its signature (key's name, text), beside `version`. The caller holds the store."""
    files = [store.put_bytes(FILE, data)]
    if signature is not None:
        key, text = signature
        files.append(store.put_bytes(f"{FILE}.{key}.minisig", text.encode()))
    about = versions.manifest_object(store, version)
    made = oci.put_manifest(store, oci.BENCH_TYPE, tuple(files), {}, about)
    tags.put(store, tag, oci.descriptor(made, descriptor.MANIFEST, oci.BENCH_TYPE))


def of(store: Layout, version: int) -> Tuple[Offered, ...]:
    """Every record that says it is about `version`. Raises StoreDamaged."""
    found = []
    for tag, item in tags.all_of(store).items():
        if tag.startswith(f"v{version}.bench."):
            layers = oci.as_list(oci.load(store, oci.digest_of(item)).get("layers"))
            if not layers or any(_size(layer) > _MOST for layer in layers):
                raise StoreDamaged(f"{tag} holds no record", where=str(store.root))
            data, *texts = [store.read(oci.digest_of(layer)) for layer in layers[:16]]
            found.append(Offered(tag, data, tuple(text.decode("utf-8", errors="replace") for text in texts)))
    return tuple(found)


def _size(layer: object) -> int:
    size = layer.get("size") if isinstance(layer, dict) else None
    return size if isinstance(size, int) else _MOST + 1
