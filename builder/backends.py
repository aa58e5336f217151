"""Runtimes that build an artifact from ONNX and open it: one file each, imported on use."""
