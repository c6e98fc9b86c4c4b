"""Errors whose message is meant for the user and is shown without a traceback."""

from signal import Signals


class UserError(ValueError):
    """Something the user can put right; the message says what is wrong, where, and what to do."""


class RunFailedError(UserError):
    """A run stopped with a fault that another try would only repeat."""


class StoppedError(BaseException):
    """Work was asked to stop, and has. Like KeyboardInterrupt no Exception, so that nothing on the way catches it.

    Args:
        number: of the signal that asked.
        what: was done.
    """

    def __init__(self, number: Signals, what: str) -> None:
        super().__init__(f"{what} by {number.name}; the same command goes on")
        self.exit_code = 128 + number
