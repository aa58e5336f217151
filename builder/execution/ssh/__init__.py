"""The executor that works over SSH, and the server that it starts on the other machine."""
