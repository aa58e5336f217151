"""A small HTTP client on the standard library, for places that are not believed. What is kept there is not known here."""
