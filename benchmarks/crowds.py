"""What a replica costs as the fleet grows: bytes said, processor time, memory; draws crowds.png.

Each fleet runs in a process of its own, so that its memory is its own, and all of them for as long: replicas fill up
with time. ``python -m benchmarks.crowds --minutes 10`` runs each for ten simulated minutes, which takes an hour and a
half, nearly all of it for 128 robots. Fleets of more than 64 need ``max_layers`` of ReplicaConfig raised, as here.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from mmap import PAGESIZE as PAGE_BYTES
from pathlib import Path
from statistics import fmean

import numpy as np
from matplotlib import pyplot

from benchmarks.resync import SMALL, TICK_S, Fleet, Member
from benchmarks.rows import Row
from marl_core.communication.communicator import CommunicationConfig
from marl_core.communication.teammates import TeammatesConfig
from marl_core.mapping.replica import ReplicaConfig

CONFIG = CommunicationConfig(teammates=TeammatesConfig(max_teammates=255))
REPLICA = ReplicaConfig(max_layers=255)
ROBOTS = (2, 8, 32, 128)
SIMULATED_S = 60.0
"""How long each fleet runs for the table [s]."""
PICTURE = Path(__file__).with_name('crowds.png')


@dataclass(frozen=True, slots=True)
class Cost:
    """What one replica of a fleet costs: bytes said per second, processor time per second [ms], memory [MB]."""

    robots: int
    simulated_s: float
    rate_bytes_per_s: float
    cpu_ms_per_s: float
    memory_mb: float


def measure() -> list[Row]:
    """One fleet after the other."""
    costs = [_in_a_process(robots, SIMULATED_S) for robots in ROBOTS]
    draw(costs, PICTURE)
    return [row for cost in costs for row in _rows(cost)]


def _rows(cost: Cost) -> list[Row]:
    what = f'replica among {cost.robots} robots for {cost.simulated_s:.0f} s'
    return [Row(f'{what}: all that it says', cost.rate_bytes_per_s, 'B/s', 400.0, at_least=False),
            Row(f'{what}: processor time per second and robot', cost.cpu_ms_per_s / cost.robots, 'ms', 0.5,
                at_least=False),
            Row(f'{what}: memory', cost.memory_mb, 'MB', 1.0 + 0.1 * cost.robots, at_least=False)]


def run(robots: int, simulated_s: float) -> Cost:
    """Every robot writes a tile every two seconds, anywhere in a map of 256 x 256 cells."""
    warm = Fleet([Member(f'warm_{k}', CONFIG, replica_config=REPLICA) for k in range(2)])
    for _ in range(30):  # Kernels are loaded, and memory that anything takes is taken.
        warm.members[0].look(np.array([[0, 0]], np.int32))
        warm.tick()
    random = np.random.default_rng(robots)
    before_mb = _resident_mb()
    fleet = Fleet([Member(f'robot_{k + 1}', CONFIG, replica_config=REPLICA) for k in range(robots)])
    while fleet.now_s < simulated_s:
        for member in fleet.members:
            if random.random() < 0.5 * TICK_S:
                member.look(random.integers(0, (SMALL.tiles_y, SMALL.tiles_x), (1, 2)).astype(np.int32))
        fleet.tick()
    return Cost(robots, simulated_s, fleet.sent_bytes / robots / simulated_s,
                1000.0 * fmean(member.cpu_s for member in fleet.members) / simulated_s,
                (_resident_mb() - before_mb) / robots)


def draw(costs: list[Cost], path: Path) -> None:
    """A panel each for bytes, processor time and memory of a replica over the size of its fleet."""
    robots = np.array([cost.robots for cost in costs])
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.6))
    for axis, name, unit in zip(axes, ('rate_bytes_per_s', 'cpu_ms_per_s', 'memory_mb'),
                                ('says [B/s]', 'processor time [ms per s]', 'memory [MB]'), strict=True):
        values = np.array([getattr(cost, name) for cost in costs])
        axis.loglog(robots, values, 'o-', label='measured')
        axis.loglog(robots, values[-1] * robots / robots[-1], '--', color='gray', label='proportional')
        axis.set_xticks(robots, robots)
        axis.minorticks_off()
        axis.set_xlabel('robots in the fleet')
        axis.set_ylabel(f'one replica: {unit}')
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.suptitle(f'{costs[0].simulated_s:.0f} simulated seconds')
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _in_a_process(robots: int, simulated_s: float) -> Cost:
    done = subprocess.run([sys.executable, '-m', 'benchmarks.crowds', '--robots', str(robots), '--seconds',
                           str(simulated_s)], capture_output=True, text=True, check=True)
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def _resident_mb() -> float:
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * PAGE_BYTES / 2**20


def main() -> int:
    """One fleet (prints its cost as JSON), or with --minutes all of them for so long (prints rows, draws)."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.crowds', description=main.__doc__)
    parser.add_argument('--robots', type=int, default=8)
    parser.add_argument('--seconds', type=float, default=60.0)
    parser.add_argument('--minutes', type=float, default=None)
    options = parser.parse_args()
    if options.minutes is None:
        sys.stdout.write(f'{json.dumps(asdict(run(options.robots, options.seconds)))}\n')
        return 0
    costs = [_in_a_process(robots, 60.0 * options.minutes) for robots in ROBOTS]
    draw(costs, PICTURE)
    for cost in costs:
        sys.stdout.write('\n'.join(map(str, _rows(cost))) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
