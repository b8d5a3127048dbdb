"""Process 1 of a container, which the kernel treats unlike any other: see pid_namespaces(7).

It gets no signal that it has no handler for, so that SIGTERM would end nothing; and it inherits every process whose
parent has ended, such as what a visit's command has left running, and has to bury them. As small init programs do it
(tini, dumb-init), the command becomes a child here, to which all that does not apply.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

PASSED_ON = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT}
)


def step_aside() -> None:
    """Where this is process 1, go on in a child of it. Call it first of all, in a process with one thread.

    Process 1 itself does not return from here: it passes signals on, buries what ends, and ends when the child does,
    with its exit status, or 128 and the signal's number.
    """
    if os.getpid() != 1:
        return
    awaited = PASSED_ON | {signal.SIGCHLD}
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored the system buries by itself and says nothing
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    child = os.fork()
    if not child:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    while True:
        came = signal.sigwaitinfo(awaited)
        if came.si_signo == signal.SIGCHLD:
            _bury(child)
        elif came.si_code <= 0:  # from a process; what comes from the terminal, its whole group has got already
            with suppress(ProcessLookupError):
                os.kill(child, came.si_signo)


def _bury(child: int) -> None:
    """Take the status of each process that has ended; end with the child's."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
