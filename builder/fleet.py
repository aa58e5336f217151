"""Workers that dial out: a job queue between them and the run that has work for them."""
