"""Learned policies: ONNX models, checked against the specs before they may decide."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from marl_core.decision.observation import Observation
from marl_core.errors import PolicyError
from marl_core.specs import ACTION, HOLD, OBSERVATION, VERSION, ArraySpec, fingerprint

MANIFEST_KEY = 'marl_manifest'
"""Key of the model's metadata under which its manifest is kept, as JSON."""

_RUNTIME_TYPES = {'float32': 'tensor(float)', 'bool': 'tensor(bool)'}


def manifest(**remarks: Any) -> dict[str, Any]:
    """What an exporter writes under MANIFEST_KEY: the specs that the model was built for.

    Args:
        **remarks: anything else worth keeping with the model (training run, scores); not checked.
    """
    return {**remarks, 'specs_version': VERSION, 'fingerprint': fingerprint(),
            'inputs': [_described(spec) for spec in OBSERVATION], 'outputs': [_described(spec) for spec in ACTION]}


def _described(spec: ArraySpec) -> dict[str, Any]:
    return {'name': spec.name, 'dtype': spec.dtype, 'shape': list(spec.shape), 'unit': spec.unit}


class OnnxPolicy:
    """Scores candidates with an ONNX model and takes the best.

    The model has the inputs and outputs of the specs, without a batch dimension, and a manifest. One thread: a
    decision takes a fraction of a millisecond, which is less than waking a second core.

    Attributes:
        name: the file's stem.
        path: the file.
        manifest: what the model says about itself.
    """

    def __init__(self, path: str | Path) -> None:
        """Load and check a model.

        Raises:
            PolicyError: the file is missing, is no ONNX model, has no manifest, or was built for other specs.
        """
        self.path = Path(path)
        self.name = self.path.stem
        if not self.path.is_file():
            raise PolicyError(f'{self.path}: no such model; export one or name a classical policy')
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 4  # errors arrive as exceptions
        try:
            self._session = onnxruntime.InferenceSession(str(self.path), options, providers=['CPUExecutionProvider'])
        except Exception as error:  # noqa: BLE001 - the runtime's exception classes are private
            raise PolicyError(f'{self.path}: cannot be loaded as ONNX model ({_first_line(error)})') from error
        self.manifest = self._read_manifest()
        self._check_manifest()
        self._check_signature('input', OBSERVATION, self._session.get_inputs())
        self._check_signature('output', ACTION, self._session.get_outputs())

    def choose(self, observation: Observation) -> int:
        """See Policy.

        Raises:
            PolicyError: the model failed to run, or gave logits of a wrong shape or that are not finite.
        """
        places = observation.places
        if not places.size:
            return HOLD
        try:
            logits, = self._session.run(['logits'], observation.arrays)
        except Exception as error:  # noqa: BLE001 - the runtime's exception classes are private
            raise PolicyError(f'{self.path}: the model failed to run ({_first_line(error)})') from error
        if logits.shape != observation.candidate_mask.shape:
            raise PolicyError(f'{self.path}: output logits: expected shape {observation.candidate_mask.shape}, '
                              f'got {logits.shape}; export the model again')
        logits = logits[places]
        if not np.isfinite(logits).all():
            raise PolicyError(f'{self.path}: output logits: {int((~np.isfinite(logits)).sum())} of {places.size} '
                              'are not finite; the model is broken, export it again from a good checkpoint')
        return int(places[logits.argmax()])

    def _read_manifest(self) -> Mapping[str, Any]:
        text = self._session.get_modelmeta().custom_metadata_map.get(MANIFEST_KEY)
        if text is None:
            raise PolicyError(f'{self.path}: has no manifest (metadata {MANIFEST_KEY}); '
                              'write it with the exporter of this project')
        try:
            content = json.loads(text)
        except ValueError as error:
            raise PolicyError(f'{self.path}: manifest: is not JSON ({error}); export the model again') from error
        if not isinstance(content, dict):
            raise PolicyError(f'{self.path}: manifest: expected an object, got {type(content).__name__}; '
                              'export the model again')
        return content

    def _check_manifest(self) -> None:
        """Compare array by array first, so that the error names what differs; the fingerprint covers the rest."""
        valid = manifest()
        for field in ('inputs', 'outputs'):
            self._check_arrays(field, valid[field], self.manifest.get(field))
        for field in ('specs_version', 'fingerprint'):
            expected, got = valid[field], self.manifest.get(field)
            if got != expected:
                raise PolicyError(f'{self.path}: manifest: {field}: expected {expected!r}, got {got!r}; '
                                  'the meaning of arrays changed since the export, train and export again')

    def _check_arrays(self, field: str, expected: list[dict[str, Any]], got: Any) -> None:
        named = {entry.get('name'): entry for entry in got if isinstance(entry, dict)} if isinstance(got, list) else {}
        names = [entry['name'] for entry in expected]
        if sorted(map(str, named)) != sorted(names):
            raise PolicyError(f'{self.path}: manifest: {field}: expected {names}, got {list(named)}; '
                              'export the model again with this version')
        for entry in expected:
            for key, value in entry.items():
                promised = named[entry['name']].get(key)
                if promised != value:
                    raise PolicyError(f'{self.path}: manifest: {field}: {entry["name"]}: {key}: expected {value!r}, '
                                      f'got {promised!r}; export the model again with this version')

    def _check_signature(self, kind: str, specs: tuple[ArraySpec, ...], nodes: list[Any]) -> None:
        """The graph itself must keep what its manifest promises."""
        found = {node.name: node for node in nodes}
        names = [spec.name for spec in specs]
        if sorted(found) != sorted(names):
            raise PolicyError(f'{self.path}: {kind}s: expected {names}, got {list(found)}; export the model again')
        for spec in specs:
            node = found[spec.name]
            if node.type != _RUNTIME_TYPES[spec.dtype]:
                raise PolicyError(f'{self.path}: {kind} {spec.name}: dtype: expected {spec.dtype}, got {node.type}; '
                                  'export the model again')
            fits = len(node.shape) == len(spec.shape) and all(
                not isinstance(got, int) if isinstance(size, str) else got == size
                for size, got in zip(spec.shape, node.shape))
            if not fits:
                raise PolicyError(f'{self.path}: {kind} {spec.name}: shape: expected {list(spec.shape)} with names '
                                  f'free, got {node.shape}; export the model without batch and with dynamic K and T')


def _first_line(error: Exception) -> str:
    return str(error).strip().split('\n')[0] or type(error).__name__
