"""What an artifact's files hold: one file per format. Nothing is run."""
