"""What computes a model's predictions when it is served: torch, ONNX Runtime, OpenVINO."""
