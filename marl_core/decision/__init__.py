"""Where to go, how to get there, and when to stop instead."""
