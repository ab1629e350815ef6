"""A simulated fleet maps a world while one watches; needs a checkout, as the simulator does."""
