"""Which runtime, precision and machine go together: tables as data with their sources, rules as pure functions."""
