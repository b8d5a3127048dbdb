"""The ``peephole`` command: its verbs are the API's."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from . import __version__
from .errors import FrameError, FrameNotFound, FrameUnreadable, PeepholeError, UsageError

if TYPE_CHECKING:
    from .faces import Faces
    from .frame import Frame

F = TypeVar("F", bound=Callable[..., Any])

SOME_FAILED = 1
USAGE = 2
STDIN = "-"
MANY = 5
"""From this many files on, a terminal gets a progress bar."""

DETECTOR_NAMES = click.Choice(["mmod", "dlib-cnn", "dlib-hog"])
RECOGNIZER_NAMES = click.Choice(["resnet", "dlib-resnet"])


class _Group(click.Group):
    """Turns Peephole's own errors, wherever they come from, into one line and an exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PeepholeError as error:
            click.echo(f"peephole: {error}", err=True)
            ctx.exit(USAGE if isinstance(error, UsageError) else SOME_FAILED)
        except OSError as error:
            # Standard output is gone or full. Its buffer must not be flushed again when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if not isinstance(error, BrokenPipeError):  # a reader that has left (`| head`) asks for no words
                click.echo(f"peephole: cannot go on: {error}", err=True)
            ctx.exit(SOME_FAILED)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="peephole")
def main() -> None:
    """Label the people on a doorbell camera's snapshots.

    Exit status: 0 every image was read, 1 some failed, 2 the command line cannot work.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # a file's name may be any bytes


def _options(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


scale_options = _options(
    click.option("--detector", type=DETECTOR_NAMES, default="mmod", show_default=True, help="What finds the faces."),
    click.option("--max-side", type=click.IntRange(1), help="Shrink so that the longer side has this many pixels."),
    click.option(
        "--upsample",
        type=click.IntRange(0, 4),
        default=0,
        show_default=True,
        help="Double the sides this many times after shrinking.",
    ),
    click.option(
        "--min-face",
        type=float,
        help="Choose the scale for faces this wide, in native pixels; enlarges only as --upsample allows.",
    ),
    click.option("--max-face", type=float, help="Leave out what finds only faces wider than this, in native pixels."),
    click.option(
        "--memory",
        metavar="SIZE",
        help="What the whole process may take, as 256MiB.  [default: $PEEPHOLE_MEMORY, or what the cgroup and the "
        "machine leave]",
    ),
)
frame_options = _options(
    click.argument("images", nargs=-1, required=True, metavar="FILE|DIR|-..."),
    scale_options,
    click.option(
        "--min-confidence",
        type=float,
        default=0.0,
        show_default=True,
        help="Leave out boxes at or below it, in the detector's own unit.",
    ),
    click.option("--threads", type=click.IntRange(1), help="Compute threads; by default one a usable processor."),
    click.option("--jsonl", is_flag=True, help="Print a JSON line an image instead of a table."),
    click.option("--draw", type=click.Path(file_okay=False), metavar="DIR", help="Write annotated copies there."),
    click.option(
        "--timings",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help="Append a JSON line of timings a frame.",
    ),
)
recognizer_option = click.option(
    "--recognizer",
    type=RECOGNIZER_NAMES,
    default="resnet",
    show_default=True,
    help="What turns faces into vectors.",
)


@main.command()
@frame_options
def detect(**options: Any) -> None:
    """Find faces: a box and a confidence each."""
    _run(_Job(**options))


@main.command()
@frame_options
@recognizer_option
def embed(**options: Any) -> None:
    """Find faces and turn each into landmarks and a vector."""
    _run(_Job(**options, embed=True))


@main.command()
@frame_options
@recognizer_option
@click.option(
    "--people",
    required=True,
    type=click.Path(),
    metavar="DIR",
    help="Holds a folder of photos for each person: DIR/NAME/*.jpg.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0),
    help="Largest Euclidean distance that is still the same person.  [default: the recognizer's, 0.6]",
)
def label(**options: Any) -> None:
    """Find faces and say whose they are."""
    _run(_Job(**options, embed=True))


@main.command()
@click.option("--size", required=True, metavar="WxH", help="The frame's native size, as 1536x1536.")
@scale_options
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(size: str, as_json: bool, **options: Any) -> None:
    """Show how a frame would be looked at, without looking."""
    from . import api, report

    width, separator, height = size.lower().partition("x")
    if not (separator and width.isdecimal() and height.isdecimal()):
        raise UsageError(f"--size takes WIDTHxHEIGHT in pixels, as 1536x1536, not {size!r}")
    planned = api.plan((int(width), int(height)), **options)
    pipeline = api._pipeline(options["detector"], "resnet", None, options["memory"])
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
    detector: str
    max_side: int | None
    upsample: int
    min_face: float | None
    max_face: float | None
    memory: str | None
    min_confidence: float
    threads: int | None
    jsonl: bool
    draw: str | None
    timings: str | None
    recognizer: str = "resnet"
    embed: bool = False
    people: str | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class _Input:
    """One image to look at, or the reason why there is none."""

    name: str
    error: FrameError | None = None


def _inputs(images: Sequence[str]) -> list[_Input]:
    """The images in the order given; a folder stands for the pictures below it, sorted."""
    from .people import pictures

    found: list[_Input] = []
    for name in images:
        if name in (STDIN, "") or not os.path.isdir(name):  # noqa: PTH112 - unlike Path.is_dir it never raises
            found.append(_Input(name))
            continue
        inside = pictures(Path(name))
        found += [_Input(str(path)) for path in inside]
        if not inside:
            found.append(_Input(name, FrameNotFound("no picture in this folder")))
    return found


def _run(job: _Job) -> None:
    """Look at every image, print a result each, and exit with the status that the contract gives."""
    from . import pipeline, planner
    from .frame import load, snapshot
    from .pipeline import Pipeline, Scale
    from .report import FaceTable
    from .timings import StageClock, TimingLog

    scale = Scale(job.max_side, job.upsample, job.min_face, job.max_face)
    planner.check((1, 1), job.max_side, job.upsample, job.min_face, job.max_face)
    pipeline.check(job.min_confidence, job.threshold)
    looking = Pipeline(job.detector, job.recognizer, threads=job.threads, memory=job.memory)
    inputs = _inputs(job.images)
    drawings = _Drawings(Path(job.draw), inputs) if job.draw else None
    log = TimingLog(job.timings) if job.timings else None
    failed = False

    people = None
    if job.people is not None:
        from .people import load_people

        people = load_people(job.people, looking, scale=scale, min_confidence=job.min_confidence)
        for path, reason in people.problems:
            click.echo(f"peephole: {path}: {reason}", err=True)

    table = FaceTable(
        [each.name for each in inputs], embeddings=job.embed and people is None, matches=people is not None
    )
    if not job.jsonl:
        click.echo(table.header)
    with _progress(len(inputs)) as (say, advance):
        for each in inputs:
            clock = StageClock()
            try:
                if each.error:
                    raise each.error
                with clock.stage("decode"):
                    opened = snapshot(_stdin() if each.name == STDIN else load(each.name), each.name)
                frames: list[Frame] = []
                analysis = looking.analyse(
                    opened,
                    scale=scale,
                    min_confidence=job.min_confidence,
                    embed=job.embed,
                    people=people,
                    threshold=job.threshold,
                    clock=clock,
                    keep=frames.append if drawings else None,
                )
            except FrameError as error:
                failed = True
                say([_failure(each.name, error)] if job.jsonl else [table.failure(each.name, error)])
                if log:
                    log.failure(each.name, error, clock)
            else:
                say([json.dumps(analysis.to_dict())] if job.jsonl else table.rows(analysis))
                if drawings:
                    failed |= not drawings.write(frames.pop(), analysis.faces)
                if log:
                    log.frame(analysis)
            advance()
    sys.exit(SOME_FAILED if failed else 0)


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


class _Drawings:
    """Annotated copies in one folder, a JPEG each, never one over another and never over an input."""

    def __init__(self, folder: Path, inputs: Sequence[_Input]) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"the folder {folder} cannot be made: {error.strerror}") from error
        for each in inputs:
            if (
                each.name != STDIN
                and not each.error
                and Path(each.name).absolute().parent.resolve() == folder.resolve()
            ):
                raise UsageError(f"--draw {folder} could overwrite pictures like {each.name}: choose another folder")
        self._folder = folder
        self._used: set[str] = set()

    def write(self, frame: Frame, faces: Faces) -> bool:
        """Draw one; a drawing that fails is said on standard error and does not stop the run."""
        from .draw import annotate

        stem = "stdin" if frame.source == STDIN else Path(frame.source).stem
        name, number = stem, 1
        while name in self._used:
            number += 1
            name = f"{stem}-{number}"
        self._used.add(name)
        target = self._folder / f"{name}.jpg"
        try:
            annotate(frame, faces).save(target, quality=90)
        except (OSError, ValueError) as error:  # ValueError: more pixels a side than a JPEG can have
            click.echo(f"peephole: {target} cannot be drawn: {error}", err=True)
            return False
        return True
