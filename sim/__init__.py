"""All that exists only off the robot: worlds, bodies, sensors, radio; and, above them, training."""
