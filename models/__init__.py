"""Networks that reach the robot: torch modules that export themselves to ONNX, and the exported artefacts."""
