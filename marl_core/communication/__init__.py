"""Who hears what, within what budget, in what order."""
