"""Ed25519 signatures in the files of minisign."""
