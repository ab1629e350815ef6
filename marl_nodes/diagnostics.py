"""What a node says about its own health, once a second on /diagnostics."""

from collections import Counter, deque
from collections.abc import Mapping

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.time import Time

from marl_core.communication.communicator import Communicator
from marl_core.mapping.replica import Replica
from marl_core.types import LayerDigest, LayerId
from marl_core.versions import Ranges, intersect, subtract
from marl_nodes.qos import DIAGNOSTICS

OK, WARN, ERROR, STALE = (
    DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE)
IMPERSONATED = "somebody with the group key speaks under another's name: replace the key (docs/security.md)"
"""What nodes say once such a packet was dropped."""


class Durations:
    """Percentiles over the last thousand durations of one activity."""

    def __init__(self) -> None:
        self._recent_s: deque[float] = deque(maxlen=1000)

    def add(self, duration_s: float) -> None:
        """Take one more."""
        self._recent_s.append(duration_s)

    def values(self, name: str) -> dict[str, str]:
        """Median and 99th percentile under ``<name>_p50_ms`` and ``<name>_p99_ms``; empty before the first."""
        if not self._recent_s:
            return {}
        p50, p99 = np.percentile(np.array(self._recent_s), (50, 99)) * 1e3
        return {f'{name}_p50_ms': f'{p50:.2f}', f'{name}_p99_ms': f'{p99:.2f}'}


def drop_values(drops: Mapping[str, int]) -> dict[str, str]:
    """Counts of what was refused, under ``dropped_<reason>``."""
    return {f'dropped_{reason}': str(count) for reason, count in sorted(drops.items())}


def in_words(counts: Mapping[str, int]) -> str:
    """Counts by kind as ``digest: 10, features: 200``."""
    return ', '.join(f'{kind}: {count}' for kind, count in sorted(counts.items()))


class ReplicaHealth:
    """What a node says about its copy of the shared map: whether it lacks anything, and what it holds."""

    def __init__(self) -> None:
        self._held: tuple[LayerDigest, ...] | None = None
        self._hash = ''
        self._lacking: dict[LayerId, list[tuple[float, Ranges]]] = {}

    def values(self, replica: Replica, communicator: Communicator, drops: Counter[str],
               now_s: float) -> dict[str, str]:
        """Under ``convergence`` in words; ``state_hash`` is the same for all replicas that agree.

        ``tiles_missing`` counts versions that others spoke of: a tile that changed meanwhile counts again.

        Args:
            replica, communicator: of the node.
            drops: what the node itself refused, by reason; counted together with what its communicator refused.
            now_s: time [s].
        """
        held = replica.digest()
        if held != self._held:
            self._held, self._hash = held, replica.state_hash()
        counts, oldest_s = self._note(communicator.missing, now_s)
        lacking = ', '.join(f'{count} of {layer.robot}' for layer, count in sorted(counts.items()))
        return {'state_hash': self._hash, 'convergence': f'lacks {lacking}' if lacking else 'lacks nothing known of',
                'tiles_missing': str(sum(counts.values())), 'oldest_missing_s': f'{oldest_s:.1f}',
                'link_loss': f'{communicator.loss:.2f}', **drop_values(drops + Counter(communicator.drops))}

    def _note(self, missing: Mapping[LayerId, Ranges], now_s: float) -> tuple[dict[LayerId, int], float]:
        """How much is missing of each layer, and for how long the oldest of it [s]."""
        for layer in [layer for layer in self._lacking if layer not in missing]:
            del self._lacking[layer]
        oldest_s = now_s
        for layer, ranges in missing.items():
            fresh, cohorts = ranges, []
            for since_s, before in self._lacking.get(layer, ()):
                if still := intersect(before, ranges):
                    cohorts.append((min(since_s, now_s), still))
                    fresh = subtract(fresh, still)
            self._lacking[layer] = [*cohorts, (now_s, fresh)] if fresh else cohorts
            oldest_s = min(oldest_s, *(since_s for since_s, _ in self._lacking[layer]))
        return ({layer: sum(last - first + 1 for first, last in ranges) for layer, ranges in missing.items()},
                now_s - oldest_s)


class Drops:
    """Counts what was refused, and tells when a reason is new and so worth a log line.

    Attributes:
        by_reason: the counts.
    """

    def __init__(self) -> None:
        self.by_reason: Counter[str] = Counter()

    def count(self, reason: str) -> bool:
        """Count one; True the first time that this reason occurs."""
        self.by_reason[reason] += 1
        return self.by_reason[reason] == 1

    def values(self) -> dict[str, str]:
        """See drop_values."""
        return drop_values(self.by_reason)


class Diagnostics:
    """Publishes one DiagnosticStatus of a node."""

    def __init__(self, node: Node, hardware_id: str) -> None:
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', DIAGNOSTICS)
        self._name = f'{node.get_fully_qualified_name().strip("/")}: agent'
        self._hardware_id = hardware_id

    def publish(self, now: Time, level: bytes, summary: str, values: Mapping[str, str]) -> None:
        """Send the state of this moment. ``summary`` is one short sentence."""
        status = DiagnosticStatus(
            level=level, name=self._name, message=summary, hardware_id=self._hardware_id,
            values=[KeyValue(key=key, value=value) for key, value in values.items()])
        message = DiagnosticArray(status=[status])
        message.header.stamp = now.to_msg()
        self._publisher.publish(message)
