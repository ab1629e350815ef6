"""Errors that users meet. One family per layer; nodes turn each into a diagnostic once.

Every message names what was wrong (file, key, topic or field) and what would have been valid.
"""


class MarlError(Exception):
    """Base of every error that this project raises on purpose."""


class ConfigError(MarlError):
    """A configuration file or value is wrong; names the file, the key and the valid keys or values."""


class MapError(MarlError):
    """The map layer refused something (a tile outside the bounds, a damaged map file)."""


class WorldError(MarlError):
    """A world cannot be simulated (missing file, no free space, a robot that does not fit its start)."""


class MessageError(MarlError):
    """A message from another robot is malformed, oversized or of a foreign version.

    Attributes:
        reason: short machine-readable key under which the drop is counted, e.g. ``truncated``.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f'{reason}: {detail}')
        self.reason = reason


class PolicyError(MarlError):
    """A policy cannot be loaded or run (missing model, specs that do not match)."""


class SimulationError(MarlError):
    """The simulator refused a request (unknown robot, step before reset)."""


class TrainingError(MarlError):
    """Training cannot start or resume (damaged checkpoint, incompatible configuration)."""
