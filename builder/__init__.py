"""deploymatrix: one model, the right inference artifact for every machine it must run on."""
