"""A service whose faces are made up: ``python spool_service.py FOLDER COUNT``; killed and started again by the tests.

Its source offers COUNT frames of two cameras, and writes down which were accepted, after they were; what had been
offered before it was killed is offered again. It ends when all have been told.
"""

import os
import sys
import threading
import time
from pathlib import Path

import sightings
from peephole.gallery import Gallery
from peephole.service import Service
from peephole.sinks import JsonLines
from peephole.spool import Arrival, File

DAY_BEGAN = 1_700_000_000.0


def seen(number):
    """How many faces a frame has."""
    return number % 3


class FakeLooking:
    """Sees in a frame as many faces as its number says."""

    recognizer = sightings.Circle()

    def __init__(self, seconds=0.004):
        self._seconds = seconds

    def analyse(self, source, *, name, people, rule, **_):
        time.sleep(self._seconds)
        angles = [100.0 * face for face in range(seen(int(source)))]
        return sightings.analysis(*angles, people=people, rule=rule)


class Offering:
    """Frames a second apart, a pause of a minute after each twenty."""

    def __init__(self, folder, count):
        self._folder, self._count = folder, count

    def run(self, spool, stop):
        with (self._folder / "acknowledged").open("a+") as acknowledged:
            acknowledged.seek(0)
            done = set(acknowledged.read().split())
            for number in range(self._count):
                name = f"{number}.jpg"
                if name in done or stop.is_set():
                    continue
                arrived = DAY_BEGAN + number + 60.0 * (number // 20)
                camera, data = str(number % 2), str(number).encode()
                spool.accept(Arrival(camera, name, data, arrived, file=File(name, str(number))))
                acknowledged.write(f"{name}\n")
                acknowledged.flush()
        self._finished = True


def main(folder, count):
    out = os.open(folder / "told", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    source = Offering(folder, count)
    with Gallery.open(folder / "gallery.db") as gallery:
        service = Service(
            folder / "queue.db",
            FakeLooking(),
            gallery,
            sources=[source],
            sinks=[JsonLines(lambda line: os.write(out, f"{line}\n".encode()))],
            clock=lambda: DAY_BEGAN,
        )

        def end():
            from peephole.spool import Spool

            with Spool(folder / "queue.db") as spool:
                while spool.status().answered < count:
                    time.sleep(0.02)
            service.stop()

        threading.Thread(target=end, daemon=True).start()
        print("ready", file=sys.stderr, flush=True)
        service.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
