"""Files on their way: copied, hashed, counted, several at once, and resumed."""
