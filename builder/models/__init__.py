"""Models: PyTorch factories, ONNX files, preprocessing, and the digest of a model's code."""
