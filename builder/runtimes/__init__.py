"""One file per runtime: it builds an artifact from ONNX, and opens it as a runner."""
