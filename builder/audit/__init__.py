"""A ledger of versions, read from a store and written for a person, a program and a pipeline."""
