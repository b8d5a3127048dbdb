"""Messages over a socket between two processes, a file descriptor along with one where need be.

What reads and writes them is imported with the first one: a worker is started first, and loads while its host does.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .messages import Message


class Channel:
    """One end of the socket. Not for several threads at once."""

    def __init__(self, end: socket.socket) -> None:
        """Take over one end of a stream socket of the Unix kind."""
        self._socket = end
        self._descriptors: list[int] = []

    def send(self, message: Message | bytes, descriptor: int | None = None) -> None:
        """Send a message, encoded already or not, and a file descriptor along with it.

        Raises:
            WorkerProtocolError: it is larger than a message may be; nothing is sent then.
            OSError: there is nobody at the other end.
        """
        from .messages import encode

        data = message if isinstance(message, bytes) else encode(message)
        if descriptor is not None:
            sent = socket.send_fds(self._socket, [data], [descriptor])
            data = data[sent:]
        self._socket.settimeout(None)
        self._socket.sendall(data)

    def receive(self, wait: Callable[[], object] | None = None, every: float = 0.2) -> Message | None:
        """The next message, or None at the end of the stream.

        Args:
            wait: called again and again while there is nothing; may raise to give up.
            every: how often, in seconds.

        Raises:
            WorkerProtocolError: what comes is no message.
        """
        from .messages import read

        def some(size: int) -> bytes:
            while True:
                try:
                    data, descriptors, _, _ = socket.recv_fds(self._socket, size, 4)
                except TimeoutError:
                    if wait:
                        wait()
                    continue
                except ConnectionResetError:
                    return b""
                self._descriptors += descriptors
                return data

        self._socket.settimeout(every if wait else None)
        return read(some)

    def descriptors(self) -> list[int]:
        """The file descriptors that have come and were not asked for yet; they are the caller's to close."""
        found, self._descriptors = self._descriptors, []
        return found

    def close(self) -> None:
        """Let go of the socket: the other end sees the end of the stream."""
        for descriptor in self.descriptors():
            os.close(descriptor)
        self._socket.close()


@contextmanager
def anonymous_file(data: bytes | memoryview = b"") -> Iterator[int]:
    """A file without a name, in memory where the system has that, as a descriptor."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("peephole", os.MFD_CLOEXEC)
    else:
        descriptor, path = tempfile.mkstemp(prefix="peephole-")
        os.unlink(path)  # noqa: PTH108 - a path from the os module
    try:
        rest = memoryview(data)
        while len(rest):
            rest = rest[os.write(descriptor, rest) :]
        yield descriptor
    finally:
        os.close(descriptor)
