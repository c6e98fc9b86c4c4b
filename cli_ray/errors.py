"""Errors whose message is meant for the user and is shown without a traceback."""


class UserError(ValueError):
    """Something the user can put right; the message says what is wrong, where, and what to do."""


class RunFailedError(UserError):
    """A run stopped with a fault that another try would only repeat."""


class StoppedError(Exception):
    """A signal ended the command; the message says at what.

    Args:
        message: for the user.
        number: of the signal; the exit code is 128 and this.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.code = 128 + number
