"""What happens on a host: taking a version, placing it, proving it there, answering with it, and following the next."""
