"""The record of one life's ticks, for a replay: a full disk ends the record, not the drive."""

from contextlib import suppress

from rclpy.node import Node

from marl_core.trace import TraceStep, TraceWriter


class TickRecord:
    """Writes ticks to a file, as long as it can be written; nothing if there is to be none."""

    def __init__(self, node: Node, path: str) -> None:
        """Open the file; '' for no record.

        Raises:
            ConfigError: the file cannot be written.
        """
        self._node, self._path = node, path
        self._trace = TraceWriter(path) if path else None

    @property
    def is_open(self) -> bool:
        """Whether ticks are written."""
        return self._trace is not None

    def add(self, step: TraceStep) -> None:
        """Append a tick."""
        if self._trace is None:
            return
        try:
            self._trace.write(step.readings, step.inbox, step.now_s, step.command)
        except OSError as error:
            self._node.get_logger().error(f'{self._path}: the trace ends here ({error.strerror})')
            self.close()

    def close(self) -> None:
        """Write no more."""
        trace, self._trace = self._trace, None
        if trace is not None:
            with suppress(OSError):  # What a full disk did not take was logged when it was written.
                trace.close()
