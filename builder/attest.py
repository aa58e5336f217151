"""What is stated of a version in the forms that others read: in-toto and SLSA, DSSE, CycloneDX. Written by hand: they are plain
JSON, and the library for CycloneDX has no model cards. The tests hold them against the official schemas and libraries."""
