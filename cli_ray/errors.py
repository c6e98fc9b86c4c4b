"""Errors whose message is meant for the user and is shown without a traceback."""


class UserError(ValueError):
    """Something the user can put right; the message says what is wrong, where, and what to do."""


class RunFailedError(UserError):
    """A run stopped with a fault that another try would only repeat."""
