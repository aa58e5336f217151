"""Which artifact a machine gets: what it can run, what was asked for, what is fastest there, and the words for all of it."""
