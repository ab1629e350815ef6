"""Training: everything that knows torch and never reaches a robot, except the network that it exports."""
