"""Exploration at the speed of training: point robots on a coarse grid, whole episodes in compiled code."""

from sim.fast.exploration import FastConfig, FastExploration, Outcome
from sim.fast.grid import CoarseGrid

__all__ = ['CoarseGrid', 'FastConfig', 'FastExploration', 'Outcome']
