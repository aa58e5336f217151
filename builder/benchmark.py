"""`build bench`: artifacts timed side by side on a host, and the record of it."""
