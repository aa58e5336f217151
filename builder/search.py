"""The search for layers that must stay in higher precision, for cells that miss their gates. Layers: strategy; trials; heal."""
