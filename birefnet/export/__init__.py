"""Export a network as an ONNX file, which is run and compared with PyTorch's matte before it is kept."""
