"""Keys, signatures and key statements. Bytes in, proof out: nothing here reads a store."""
