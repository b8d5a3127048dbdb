"""The ``peephole`` command: its verbs are the API's."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
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
            usage = isinstance(error, UsageError)
            click.echo(f"peephole: {_as_typed(str(error)) if usage else error}", err=True)
            ctx.exit(USAGE if usage else SOME_FAILED)
        except OSError as error:
            if not isinstance(error, BrokenPipeError):  # a reader that has left (`| head`) asks for no words
                click.echo(f"peephole: cannot go on: {error}", err=True)
            _let_go_of_output()
            ctx.exit(SOME_FAILED)


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
    click.option("--runtime", type=click.Choice(["onnxruntime", "openvino"]), default="onnxruntime", show_default=True),
    click.option(
        "--precision",
        type=click.Choice(["float32", "bfloat16"]),
        default="float32",
        show_default=True,
        help="bfloat16 only with --runtime openvino, on processors that have it.",
    ),
    click.option("--jsonl", is_flag=True, help="Print a JSON line an image instead of a table."),
    click.option(
        "--draw",
        type=click.Path(file_okay=False),
        metavar="DIR",
        help="Write annotated copies there; what lies there from an earlier run may be overwritten.",
    ),
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
    runtime: str
    precision: str
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


def _inputs(images: Sequence[str], draw: Path | None) -> list[_Input]:
    """The images in the order given; a folder stands for the pictures below it, sorted, without earlier drawings."""
    from .people import pictures

    found: list[_Input] = []
    drawn = _real(draw) if draw else None
    for name in images:
        if name in (STDIN, "") or not os.path.isdir(name):  # noqa: PTH112 - unlike Path.is_dir it never raises
            found.append(_Input(name))
            continue
        unlisted: list[_Input] = []

        def problem(path: str, reason: str, unlisted: list[_Input] = unlisted) -> None:
            unlisted.append(_Input(path, FrameUnreadable(reason)))

        inside = pictures(Path(name), problem)
        if drawn and _real(Path(name)) in drawn.parents:
            inside = [path for path in inside if not _real(path.parent).is_relative_to(drawn)]
        found += [_Input(str(path)) for path in inside] + unlisted
        if not inside and not unlisted:
            found.append(_Input(name, FrameNotFound("no picture in this folder")))
    return found


def _run(job: _Job) -> None:
    """Look at every image, print a result each, and exit with the status that the contract gives."""
    from . import pipeline, planner
    from .frame import load, snapshot
    from .pipeline import Pipeline, Scale
    from .report import FaceTable, escaped
    from .timings import StageClock, TimingLog

    scale = Scale(job.max_side, job.upsample, job.min_face, job.max_face)
    planner.check((1, 1), job.max_side, job.upsample, job.min_face, job.max_face)
    pipeline.check(job.min_confidence, job.threshold)
    looking = Pipeline(
        job.detector,
        job.recognizer,
        threads=job.threads,
        memory=job.memory,
        runtime=job.runtime,
        precision=job.precision,
    )
    draw = Path(job.draw) if job.draw else None
    inputs = _inputs(job.images, draw)
    drawings = _Drawings(draw, inputs, job.people) if draw else None
    log = TimingLog(job.timings) if job.timings else None
    failed = False

    people = None
    if job.people is not None:
        from .people import load_people

        with _counter() as seen:
            people = load_people(job.people, looking, scale=scale, min_confidence=job.min_confidence, progress=seen)
        for path, reason in people.problems:
            click.echo(f"peephole: {escaped(path)}: {reason}", err=True)

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

    def write(self, frame: Frame, faces: Faces) -> bool:
        """Draw one; a drawing that fails is said on standard error and does not stop the run."""
        from .draw import annotate

        stem = "stdin" if frame.source == STDIN else Path(frame.source).stem
        name, number = stem, 1
        # Some file systems take A.jpg and a.jpg for one; and a name here may be a link to an input, or the reverse.
        while name.casefold() in self._used or _identity(self._folder / f"{name}.jpg") in self._inputs:
            number += 1
            name = f"{stem}-{number}"
        self._used.add(name.casefold())
        target = self._folder / f"{name}.jpg"
        try:
            annotate(frame, faces).save(target, quality=90)
        except (OSError, ValueError, MemoryError) as error:  # ValueError: more pixels a side than a JPEG can have
            click.echo(f"peephole: {target} cannot be drawn: {error or 'not enough memory'}", err=True)
            return False
        return True


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
