"""The classes by number: what a pixel of a label map says, and a channel of the logits stands for."""

CLASSES = ("background", "disc", "box", "triangle", "ring")
