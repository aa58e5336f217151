"""Descriptor: how OCI names an object or a file: media type, digest, size. Read from what strangers send.

The law: whoever fetches what a descriptor names has `size` bytes with `digest`, or an error.
https://github.com/opencontainers/image-spec/blob/main/descriptor.md
"""

from __future__ import annotations

from dataclasses import dataclass

from builder import digest
from builder.errors import StoreDamaged

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCTETS = "application/octet-stream"


@dataclass(frozen=True)
class Descriptor:
    """`kind` is the artifact type, `title` the file's name; each empty where there is none."""

    media: str
    digest: str
    size: int
    kind: str = ""
    title: str = ""

    @property
    def is_object(self) -> bool:
        """A manifest or an index, which registries keep apart from files."""
        return self.media in (INDEX, MANIFEST)


def read(value: digest.Json) -> Descriptor:
    """A descriptor in JSON. Raises StoreDamaged for anything else, so that nobody later meets a digest that is a path."""
    if not isinstance(value, dict):
        raise StoreDamaged("an OCI descriptor is not a JSON object")
    named, size, notes = value.get("digest"), value.get("size"), value.get("annotations")
    if not isinstance(named, str):
        raise StoreDamaged("an OCI descriptor names no digest")
    digest.hex_part(named)
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise StoreDamaged(f"the OCI descriptor of {named} has no size")
    title = notes.get("org.opencontainers.image.title", "") if isinstance(notes, dict) else ""
    return Descriptor(
        _text(value.get("mediaType")), named, size, kind=_text(value.get("artifactType")), title=_text(title)
    )


def _text(value: digest.Json) -> str:
    return value if isinstance(value, str) else ""
