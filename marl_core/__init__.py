"""What an agent is, the same in training and on the robot: mapping, communication, decision."""

from marl_core.compilation import use_own_cache

use_own_cache()
