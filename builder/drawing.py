"""The jobs that make and measure the cells of a plan. Pure."""
