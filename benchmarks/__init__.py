"""Every performance claim of the README is a module here with a ``measure() -> list[Row]``."""
