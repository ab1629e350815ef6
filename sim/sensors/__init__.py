"""What simulated robots perceive."""
