"""Work on another machine over its login: what is sent, what is said, and the side that runs there."""
