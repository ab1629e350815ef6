"""What is to be achieved, and what it is worth. A new task takes a file and a line in TASKS."""

from sim.tasks.exploration import Episode, ExplorationTask

TASKS = {
    'exploration': ExplorationTask,
}

__all__ = ['TASKS', 'Episode', 'ExplorationTask']
