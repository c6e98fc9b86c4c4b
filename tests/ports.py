"""Ports for the clusters of tests."""

import socket
from contextlib import ExitStack


def free_ports(count: int) -> list[int]:
    """As many different ports as asked for, which are free now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]  # open until all are chosen
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
