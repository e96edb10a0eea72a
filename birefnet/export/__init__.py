"""Out of PyTorch: a network as an ONNX file that was run, and compared with our own matte, before it was
kept."""
