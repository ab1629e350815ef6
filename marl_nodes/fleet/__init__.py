"""A fleet from one YAML file: its model, its nodes, and a process runner for machines without `ros2 launch`."""
