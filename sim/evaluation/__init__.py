"""Evaluation that a sceptic can repeat: the same worlds and starts for all, intervals, a plan that knew the map."""
