"""Signatures of versions: Ed25519 in the files of minisign. Standard library only, so that any host can verify."""
