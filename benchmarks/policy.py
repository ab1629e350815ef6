"""One decision of a learned policy on the robot: onnxruntime, one thread, the largest padded observation."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.rows import Row, seconds_per_call
from marl_core.decision.observation import Observation
from marl_core.decision.policies.onnx import OnnxPolicy
from marl_core.specs import MAX_CANDIDATES, MAX_TEAM
from models.coordinator import Coordinator
from models.features import example_observation
from sim.learning.export import export

EXPORTED = Path(__file__).parents[1] / 'models' / 'exported' / 'coordinator.onnx'


def measure() -> list[Row]:
    with TemporaryDirectory() as folder:
        path = EXPORTED
        if not path.exists():  # the time does not depend on the weights
            path = Path(folder) / 'coordinator.onnx'
            export(Coordinator(), path, {})
        policy = OnnxPolicy(path)
        arrays = example_observation(MAX_CANDIDATES, MAX_TEAM)
        observation = Observation(**{name: array.numpy() for name, array in arrays.items()})
        seconds = seconds_per_call(lambda: policy.choose(observation))
        network = Coordinator().eval()
        with torch.inference_mode():
            torch_seconds = seconds_per_call(lambda: network.score(**arrays))
    name = f'decision of the coordinator, {MAX_CANDIDATES} candidates, {MAX_TEAM} robots (p50)'
    return [Row(name, seconds * 1e3, 'ms',
                target=0.35, at_least=False, peer='torch eager', ratio=torch_seconds / seconds)]
