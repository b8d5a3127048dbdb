"""A worker with a detector that does as the frame's colour says: ``python children.py FD``.

It stands where the real detector stands, behind the real messages in a real process.
"""

import ctypes
import os
import signal
import sys
import time
from dataclasses import replace

import numpy as np
from PIL import Image

RED = {
    "sees": 0,
    "crashes": 1,
    "aborts": 2,
    "hangs": 3,
    "raises": 4,
    "exits": 5,
    "is killed": 6,
    "eats memory": 7,
    "babbles": 8,
    "eats as planned": 9,
}
"""How a frame's first red value tells what is to happen."""
BYTES_PER_PIXEL, EATEN = 100, 96
"""What the fake says it takes, and what its array takes; the rest is Python's own, as with a real detector."""
BOX = (10.0, 5.0, 30.0, 25.0)


def picture(what, width=64, height=48):
    """A frame's pixels, (height, width, 3)."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = RED[what]
    return pixels


def png(path, what, width=64, height=48):
    """The same as a file."""
    Image.fromarray(picture(what, width, height)).save(path)
    return path


def happen(what, descriptor):
    if what == "crashes":
        ctypes.string_at(0)
    elif what == "aborts":
        print("terminate called after throwing an instance of 'std::bad_alloc'", file=sys.stderr, flush=True)
        os.abort()
    elif what == "hangs":
        time.sleep(600)
    elif what == "raises":
        raise ZeroDivisionError("nobody expected this")
    elif what == "exits":
        os._exit(3)
    elif what == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "eats memory":
        kept = []
        while True:
            kept.append(np.ones(2**20, np.uint8))
    elif what == "babbles":
        os.write(descriptor, b"HTTP/1.1 200 OK\r\n\r\n")


def pipeline(start, descriptor=-1):
    """A pipeline with the detector that does as it is told."""
    from peephole.detectors.planted import Planted
    from peephole.pipeline import Pipeline

    class Told(Planted):
        profile = replace(Planted.profile, streaming=None, bytes_per_pixel=BYTES_PER_PIXEL)

        def scan(self, pixels, plan, min_confidence, clock=None):
            time.sleep(0.003)
            what = {red: what for what, red in RED.items()}.get(int(pixels[0, 0, 0]))
            if what == "eats as planned":
                np.ones(EATEN * plan.base[0] * plan.base[1], np.uint8)
            happen(what, descriptor)
            return super().scan(pixels, plan, min_confidence, clock)

    return Pipeline(Told(np.array([BOX]), [0]), start.recognizer, threads=1, memory=start.memory)


if __name__ == "__main__":
    from peephole.worker import child

    if doomed := os.environ.get("DOOMED"):  # the number of a stored face at whose sight it crashes
        stored = child._stored
        child._stored = lambda face: ctypes.string_at(0) if face.id == int(doomed) else stored(face)
    last = int(sys.argv[-1])
    child.main(last, lambda start: pipeline(start, last))
