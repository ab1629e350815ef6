"""What an agent is, the same in training and on the robot: mapping, communication, decision."""
