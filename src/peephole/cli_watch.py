"""``peephole watch``: label what cameras upload into a folder, as it comes, until stopped."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .cli_options import gallery_option, look_options, recognizer_option, timing_options, worker_options
from .errors import UsageError

if TYPE_CHECKING:
    from .crops import Crops
    from .service import Service, Sink


log = logging.getLogger(__name__)


@click.command()
@click.argument("folder", type=click.Path(), metavar="DIR")
@look_options
@recognizer_option
@worker_options
@timing_options
@gallery_option
@click.option(
    "--camera",
    metavar="NAME|PATTERN",
    help="The one camera that uploads into DIR, or where a picture's path names it, as '{camera}_*'.  [default: the "
    "first folder below DIR that is more than a date, or DIR's own name]",
)
@click.option(
    "--existing",
    type=click.Choice(["skip", "new", "take"]),
    default="skip",
    show_default=True,
    help="Pictures that are there at the start, or on a disk or share that is mounted later: leave them; take those "
    "that came since DIR was watched last; or take all that have not been taken before.",
)
@click.option("--delete", is_flag=True, help="Remove each picture once its result is recorded.")
@click.option("--jsonl", is_flag=True, help="Print a JSON line for each frame and each event of a visit.")
@click.option(
    "--on-visit",
    metavar="COMMAND",
    help="Run it for each visit that opens, changes or closes, the event as JSON on its standard input.",
)
@click.option(
    "--crops",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Where the best crop of each face of a visit is written, the last 200 for a day.  [default: with --on-visit "
    "or --jsonl, a folder beside the queue]",
)
@click.option("--remember", is_flag=True, help="Keep clear faces that nobody knows in the gallery, for a set time.")
@click.option(
    "--gap",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Seconds without a face after which a visit is over.",
)
@click.option(
    "--poll",
    type=click.FloatRange(0.1),
    metavar="SECONDS",
    help="How often to look at all of DIR, beside being told of changes.  [default: 30, on network shares 1]",
)
@click.option(
    "--queue",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Where frames wait.  [default: the platform's place for a user's state, a file for each DIR]",
)
@click.option("--most-frames", type=click.IntRange(1), default=1_000, show_default=True, help="Frames that may wait.")
@click.option("--most-bytes", metavar="SIZE", default="512MiB", show_default=True, help="The size of all that wait.")
@click.option(
    "--full",
    type=click.Choice(["refuse", "drop-oldest"]),
    default="refuse",
    show_default=True,
    help="What to do beyond: leave pictures in DIR until there is room, or drop the oldest that wait.",
)
def watch(folder: str, jsonl: bool, on_visit: str | None, delete: bool, crops: str | None, **options: Any) -> None:
    """Label pictures that cameras upload into DIR as they come, and print visits as they open, update and close.

    Ends on Ctrl-C and SIGTERM, after the frame at hand; what still waits is taken up by the next start.
    """
    from .cli_options import LOOK, open_looking, open_observers
    from .gallery import Gallery
    from .memory import parse_size
    from .service import Service
    from .sinks import Command, JsonLines, Lines, Remover, Visitors
    from .watch import Folder

    source = Folder(folder, camera=options["camera"], existing=options["existing"], delete=delete, poll=options["poll"])
    path = Path(options["queue"]) if options["queue"] else _queue_of(folder, options["gallery"])
    sinks: list[Sink] = [JsonLines(click.echo) if jsonl else Lines(click.echo)]
    if on_visit is not None:
        sinks.append(Command(on_visit))
    kept = _crops_of(crops, folder, path, wanted=jsonl or on_visit is not None)
    keep = options["remember"] or kept is not None
    looking, look = open_looking({name: options.get(name) for name in LOOK}, embed=True, keep=keep)
    with (
        _warnings_on_stderr(),
        looking,
        open_observers(options, log.warning) as observers,
        Gallery.open(options["gallery"]) as gallery,
    ):
        if not any(person.photos for person in gallery.people()):
            click.echo("peephole: nobody is enrolled yet: everybody is unknown; see peephole enroll", err=True)
        sinks.append(Visitors(gallery.path))
        if delete:
            sinks.append(Remover(source.tree))
        service = Service(
            path,
            looking,
            gallery,
            sources=[source],
            sinks=sinks,
            **look,
            gap=options["gap"],
            most_frames=options["most_frames"],
            most_bytes=parse_size(options["most_bytes"]),
            full=options["full"],
            keep_unknown=options["remember"],
            crops=kept,
            observers=observers,
        )
        with _stopped_by_signals(service):
            service.run()


class _OneLine(logging.Formatter):
    """Keeps on its line what a file's name could break out of it with."""

    def format(self, record: logging.LogRecord) -> str:
        from .report import escaped

        return escaped(super().format(record))


@contextmanager
def _warnings_on_stderr() -> Iterator[None]:
    """Show what the package logs while the block lasts."""
    handler, log = logging.StreamHandler(), logging.getLogger("peephole")
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_OneLine("peephole: %(message)s"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


@contextmanager
def _stopped_by_signals(service: Service) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM end the work, and a second one the program."""

    def stop(*_: object) -> None:
        service.stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _crops_of(named: str | None, folder: str, queue: Path, *, wanted: bool) -> Crops | None:
    """Where crops go, if anywhere.

    Raises:
        UsageError: they would be taken for pictures of the cameras'.
    """
    from .crops import Crops

    if named is None:
        return Crops(queue.with_name(f".{queue.name}.crops")) if wanted else None  # hidden ones are not looked into
    if Path(os.path.realpath(named)).is_relative_to(os.path.realpath(folder)):
        raise UsageError(f"--crops {named} lies in {folder}, where its pictures would be taken for the cameras'")
    return Crops(named)


def _queue_of(folder: str, gallery: str | None) -> Path:
    """The queue's file for a folder: beside the gallery where the user has no home."""
    from .gallery import gallery_path
    from .spool import queue_folder

    real = os.path.realpath(folder)
    key = hashlib.sha256(os.fsencode(real)).hexdigest()[:12]
    try:
        place = queue_folder()
    except UsageError:
        place = Path(gallery or gallery_path()).parent
    return place / f"watch-{key}.db"
