"""Finding out what a machine is. Each file asks one kind of source, through a `Probe` that tests replace."""
