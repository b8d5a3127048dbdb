"""The ``peephole`` command: its verbs are the API's."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from . import __version__
from .cli_bench import bench
from .cli_doctor import doctor
from .cli_explain import calibrate, why
from .cli_models import models
from .cli_options import (
    LOOK,
    TIMINGS,
    frame_options,
    frame_size,
    gallery_option,
    open_looking,
    open_observers,
    open_pipeline,
    people_option,
    recognizer_option,
    scale_options,
    threshold_option,
)
from .cli_people import enroll, not_this_person, people, the_gallery
from .cli_timings import timings
from .cli_timings_compare import compare
from .cli_unknowns import name_group, unknowns
from .cli_watch import watch
from .errors import FrameError, FrameUnreadable, PeepholeError, UsageError
from .pid1 import step_aside

if TYPE_CHECKING:
    from .frame import Source
    from .gallery import Gallery
    from .looking import Looking
    from .match import People, Rule
    from .pipeline import Analysis, How
    from .timings import Observers

F = TypeVar("F", bound=Callable[..., Any])

SOME_FAILED = 1
USAGE = 2
STDIN = "-"
MANY = 5
"""From this many files on, a terminal gets a progress bar."""


class _Group(click.Group):
    """Turns Peephole's own errors and the system's, wherever they come from, into one line and an exit status."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        step_aside()  # here, where only the program itself comes through: not in a caller's process
        return super().__call__(*args, **kwargs)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except OSError as error:  # a reader that has left (`| head`) is click's business, and asks for no words
            click.echo(f"peephole: cannot go on: {error}", err=True)
            _let_go_of_output()
            sys.exit(SOME_FAILED)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PeepholeError as error:
            usage = isinstance(error, UsageError)
            click.echo(f"peephole: {_as_typed(str(error)) if usage else error}", err=True)
            ctx.exit(USAGE if usage else SOME_FAILED)


def _as_typed(message: str) -> str:
    """A message of the library with its options as they are called on the command line."""
    return re.sub(
        r"\b(max_side|min_face|min_confidence|upsample|threshold|threads)\b(?= must| and | both)", _option, message
    )


def _option(name: re.Match[str]) -> str:
    return f"--{name[0].replace('_', '-')}"


def _let_go_of_output() -> None:
    """Where standard output takes nothing more, keep Python from trying once again when it ends."""
    try:
        sys.stdout.flush()
    except (AttributeError, ValueError):  # there is none, or it is closed
        return
    except OSError:
        with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:  # ValueError: it has no number
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="peephole")
def main() -> None:
    """Label the people on a doorbell camera's snapshots.

    Exit status: 0 every image was read, 1 some failed, 2 the command line cannot work.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name may be any bytes, and none of them may end the run.
        utf8 = sys.stdout.encoding.lower().replace("-", "") == "utf8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")


main.add_command(models)
for _command in (
    enroll,
    people,
    the_gallery,
    not_this_person,
    unknowns,
    name_group,
    bench,
    calibrate,
    why,
    watch,
    timings,
    doctor,
):
    main.add_command(_command)
timings.add_command(compare)


@main.command()
@frame_options
@click.option(
    "--extent",
    type=click.Choice(["detector", "face"]),
    default="detector",
    show_default=True,
    help="Boxes as the detector draws them (dlib's: tight squares), or all as the face's extent.",
)
def detect(**options: Any) -> None:
    """Find faces: a box and a confidence each."""
    _run(options)


@main.command()
@frame_options
@recognizer_option
def embed(**options: Any) -> None:
    """Find faces and turn each into landmarks and a vector."""
    _run(options, embed=True)


@main.command()
@frame_options
@recognizer_option
@gallery_option
@people_option
@threshold_option
@click.option("--remember", is_flag=True, help="Keep clear faces that nobody knows in the gallery, for a set time.")
@click.option("--camera", default="", metavar="NAME", help="With --remember, the camera that took the pictures.")
def label(**options: Any) -> None:
    """Find faces and say whose they are: by the gallery, see peephole enroll, or by a folder of photos."""
    if options["people"] is not None and (options["gallery"] is not None or options["remember"]):
        raise UsageError("--people takes the gallery's place: leave out --gallery and --remember, or --people")
    _run(options, embed=True, name=True)


@main.command()
@click.option("--size", required=True, metavar="WxH", help="The frame's native size, as 1536x1536.")
@scale_options
@click.option(
    "--grain",
    type=click.FloatRange(0, 1),
    help="Plan for a frame with so much grain: the standard deviation of its noise, as a share of full scale.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(size: str, grain: float | None, as_json: bool, **options: Any) -> None:
    """Show how a frame would be looked at, without looking."""
    from . import planner, report

    frame = frame_size(size)
    pipeline, look = open_pipeline(options)
    planned = pipeline.plan(frame, look["scale"], reducible=True, encoded=1)
    if grain is not None:
        planned = planner.suited(planned, pipeline.detector.profile, grain)
    click.echo(json.dumps(planned.to_dict()) if as_json else report.describe_plan(planned, pipeline))


@main.command()
@click.option("--out", type=click.Path(file_okay=False), default="demo", show_default=True, help="Where to draw.")
def demo(out: str) -> None:
    """Compose eight doorbell frames with known faces, label them, and check the answers."""
    from .demo import run

    sys.exit(0 if run(Path(out), click.echo) else SOME_FAILED)


@main.command()
def selftest() -> None:
    """Check geometry, model files and parity with dlib on this machine, a verdict a line."""
    from .selftest import run

    sys.exit(0 if run(click.echo) else SOME_FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What one of the three verbs was asked to do."""

    images: tuple[str, ...]
    jsonl: bool
    draw: str | None
    embed: bool = False
    name: bool = False
    people: str | None = None
    gallery: str | None = None
    remember: bool = False
    camera: str = ""
    threshold: float | None = None
    extent: str = "detector"


@dataclass(frozen=True, slots=True)
class _Input:
    """One image to look at, or the reason why there is none."""

    name: str
    error: FrameError | None = None


def _inputs(images: Sequence[str], draw: Path | None) -> list[_Input]:
    """The images in the order given; a folder stands for the pictures below it, sorted, without earlier drawings."""
    from .files import PassedOver, listed
    from .report import escaped

    passed = PassedOver()
    drawn = _real(draw) if draw else None

    def earlier(path: Path) -> bool:
        return drawn is not None and _real(path.parent).is_relative_to(drawn)

    found: list[_Input] = []
    for name in images:
        if name == STDIN:
            found.append(_Input(name))
        else:
            above = drawn is not None and _real(Path(name)) in drawn.parents
            found += [_Input(*each) for each in listed(name, earlier if above else None, passed)]
    if passed:
        _warn(escaped(str(passed)))
    return found


def _run(options: dict[str, Any], **more: Any) -> None:
    """Look at every image, print a result each, and exit with the status that the contract gives."""
    job = _Job(**{name: value for name, value in options.items() if name not in (*LOOK, *TIMINGS)}, **more)
    # First: a worker loads while all else does.
    looking, look = open_looking(options, embed=job.embed, keep=bool(job.draw) or job.remember)
    with looking, open_observers(options, _warn) as observers:
        failed = _looked(job, looking, look, observers)
    sys.exit(SOME_FAILED if failed or observers.failed else 0)  # the last rows are written when they are closed


def _looked(job: _Job, looking: Looking, look: How, observers: Observers) -> bool:
    """Look at every image and print its result; whether one failed."""
    from .extent import face_extent
    from .pipeline import check
    from .report import FaceTable
    from .timings import StageClock
    from .timings.record import Record

    if job.remember:
        from .remember import remember

    check(look.get("min_confidence"), job.threshold)
    draw = Path(job.draw) if job.draw else None
    inputs = _inputs(job.images, draw)
    drawings = _Drawings(draw, inputs, job.people) if draw else None
    failed, aside = False, _Aside()

    with _knowing(job, looking, look) as (known, gallery):
        table = FaceTable([each.name for each in inputs], embeddings=job.embed and not job.name, matches=job.name)
        if not job.jsonl:
            click.echo(table.header)
        with _progress(len(inputs)) as (say, advance):
            for each in inputs:
                clock = StageClock()
                try:
                    if each.error:
                        raise each.error
                    source = _stdin() if each.name == STDIN else each.name
                    people, rule = known()
                    analysis = looking.analyse(
                        source,
                        name=each.name,
                        **look,
                        embed=job.embed,
                        people=people,
                        rule=rule,
                        threshold=job.threshold,
                        clock=clock,
                    )
                except FrameError as error:
                    failed = True
                    say([_failure(each.name, error)] if job.jsonl else [table.failure(each.name, error)])
                    if observers:
                        observers.frame(Record.failed(each.name, error, clock))
                else:
                    if job.extent == "face":
                        boxes = face_extent(analysis.faces.boxes, analysis.plan.detector)
                        analysis = replace(analysis, faces=replace(analysis.faces, boxes=boxes))
                    say([json.dumps(analysis.to_dict())] if job.jsonl else table.rows(analysis))
                    if drawings:
                        failed |= not drawings.write(looking, source, analysis)
                    if job.remember and gallery:
                        cut = partial(looking.photo, source, analysis)
                        taken = _taken(each.name)
                        with aside():
                            remember(gallery, cut, analysis, looking.recognizer, camera=job.camera, time=taken)
                    if observers:
                        observers.frame(Record.of(analysis))
                advance()
    return failed or aside.failed


class _Aside:
    """What is kept beside the results: where it cannot be written, that is said, and the run goes on.

    Attributes:
        failed: something was not kept.
    """

    def __init__(self) -> None:
        self.failed = self._broken = False

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Write something; its failures are said once, until it works again."""
        try:
            yield
        except PeepholeError as error:
            if not self._broken:
                _warn(f"{error}; looking goes on without it")
            self.failed = self._broken = True
        else:
            self._broken = False


def _warn(message: str) -> None:
    click.echo(f"peephole: {message}", err=True)


@contextmanager
def _knowing(
    job: _Job, looking: Looking, look: How
) -> Iterator[tuple[Callable[[], tuple[People | None, Rule | None]], Gallery | None]]:
    """What tells before each frame who is known and what decides; and the gallery, where it is known from there."""
    if not job.name:
        yield lambda: (None, None), None
        return
    if job.people is not None:
        from .people import load_people
        from .report import escaped

        with _counter() as seen:
            scale, least = look["scale"], look["min_confidence"]  # the photos are no camera's: whichever way up
            people = load_people(job.people, looking, scale=scale, min_confidence=least, progress=seen)
        for path, reason in people.problems:
            click.echo(f"peephole: {escaped(path)}: {reason}", err=True)
        yield lambda: (people, None), None
        return
    from .gallery import Gallery
    from .people import Known, refuse_nobody

    with Gallery.open(job.gallery, create=job.remember) as gallery:
        if not job.remember:
            refuse_nobody(gallery)
        known = Known()
        known.read(gallery, looking.recognizer)  # another model's is refused before there is any output
        yield lambda: known.read(gallery, looking.recognizer), gallery


def _taken(name: str) -> float | None:
    """When a picture was taken, UTC seconds, by its file's time; None for now."""
    try:
        return None if name == STDIN else Path(name).stat().st_mtime
    except OSError:
        return None


def _stdin() -> bytes:
    try:
        return sys.stdin.buffer.read()
    except (AttributeError, OSError) as error:  # AttributeError: there is no standard input at all
        raise FrameUnreadable("standard input cannot be read") from error


def _failure(name: str, error: FrameError) -> str:
    return json.dumps({"image": name, "error": {"kind": error.kind, "message": str(error)}})


@contextmanager
def _progress(total: int) -> Iterator[tuple[Callable[[list[str]], None], Callable[[], object]]]:
    """How to print lines and how to say that one image is done; with a bar where a person waits at a terminal."""
    if total < MANY or not sys.stderr.isatty():
        yield lambda lines: click.echo("\n".join(lines)), lambda: None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit="frame", file=sys.stderr, leave=False) as bar:

        def say(lines: list[str]) -> None:
            with bar.external_write_mode(file=sys.stdout):
                click.echo("\n".join(lines))

        yield say, bar.update


@contextmanager
def _counter() -> Iterator[Callable[[str], object] | None]:
    """What is told of each of the people's photos, where a person waits at a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc="people", unit="photo", file=sys.stderr, leave=False, delay=1) as bar:
        yield lambda _: bar.update()


class _Drawings:
    """Annotated copies in one folder, a JPEG each, never one over another and never over an input."""

    def __init__(self, folder: Path, inputs: Sequence[_Input], people: str | None) -> None:
        """Make the folder, unless it holds what must not be overwritten.

        Raises:
            UsageError: it does, or it cannot be made.
        """
        files = [Path(each.name) for each in inputs if each.name not in (STDIN, "") and not each.error]
        real = _real(folder)
        if people is not None and real.is_relative_to(_real(Path(people))):
            raise UsageError(f"--draw {folder} lies in the people's folder {people}: choose another folder")
        for file in files:
            if _real(file.parent) == real:
                raise UsageError(f"--draw {folder} could overwrite pictures like {file}: choose another folder")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"the folder {folder} cannot be made: {error.strerror}") from error
        self._folder = folder
        self._inputs = {_identity(file) for file in files} - {None}
        self._used: set[str] = set()

    def write(self, looking: Looking, source: Source, analysis: Analysis) -> bool:
        """Draw one; a drawing that fails is said on standard error and does not stop the run."""
        stem = "stdin" if analysis.source == STDIN else Path(analysis.source).stem
        name, number = stem, 1
        # Some file systems take A.jpg and a.jpg for one; and a name here may be a link to an input, or the reverse.
        while name.casefold() in self._used or _identity(self._folder / f"{name}.jpg") in self._inputs:
            number += 1
            name = f"{stem}-{number}"
        self._used.add(name.casefold())
        target = self._folder / f"{name}.jpg"
        try:
            problem = looking.draw(source, analysis, target)
        except FrameError as error:
            problem = str(error)
        if problem:
            click.echo(f"peephole: {target} cannot be drawn: {problem}", err=True)
        return not problem


def _real(path: Path) -> Path:
    """An absolute path without links; as far as it can be had."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # RuntimeError: links in a circle; ValueError: a NUL byte
        return path.absolute()


def _identity(path: Path) -> tuple[int, int] | None:
    """What two names of one file have in common, links followed; None where there is no file."""
    try:
        found = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL byte in the name
        return None
    return found.st_dev, found.st_ino
