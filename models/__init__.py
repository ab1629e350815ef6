"""Networks that reach the robot: torch modules that export themselves to ONNX, and the exported artefacts."""

from pathlib import Path

SHIPPED = Path(__file__).parent / 'exported' / 'coordinator.onnx'
"""The policy that this checkout was released with."""
