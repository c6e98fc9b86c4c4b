"""Errors whose message is meant for the user and is shown without a traceback by `cli-ray`. Every room raises them."""

import errno
import os
from signal import Signals

DISK_FAULTS = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room below the quota",
    errno.EROFS: "mount it for writing, or choose another folder",
    errno.EACCES: "let this user read and write there, or choose another folder",
    errno.EPERM: "choose another folder",
    errno.ENOTDIR: "choose a folder",
    errno.EISDIR: "choose a file",
}
"""Errors that are no fault of the program, and what helps."""


class UserError(ValueError):
    """Something the user can put right; the message says what is wrong, where, and what to do."""


class RunFailedError(UserError):
    """A run stopped with a fault that another try would only repeat, unless it is one of the two below."""


class ClusterError(RunFailedError):
    """Nodes or room failed a run, which another try may not meet."""


class StorageError(RunFailedError):
    """Storage failed a run; once it is mended, the same command goes on."""


class StoppedError(BaseException):
    """Work was asked to stop, and has. Like KeyboardInterrupt no Exception, so that nothing on the way catches it.

    Args:
        number: of the signal that asked.
        what: was done.
    """

    def __init__(self, number: Signals, what: str) -> None:
        super().__init__(f"{what} by {number.name}; the same command goes on")
        self.exit_code = 128 + number


def disk_fault(error: OSError) -> str | None:
    """What a full, read-only or locked disk says, and what to do; None for other errors."""
    fault = getattr(error, "cause", error)  # Ray wraps what a task raised
    if not isinstance(fault, OSError) or fault.errno not in DISK_FAULTS:
        return None
    # pyarrow gives no file name; where it knows one, its reason holds it.
    message = f"{fault.filename}: {os.strerror(fault.errno)}" if fault.filename else fault.strerror
    return f"{message}; {DISK_FAULTS[fault.errno]}, then the same command goes on"
