"""Keys, signatures and key statements, as bytes; reads no store.

Bytes in, proof out: nothing here reads a store.
"""
