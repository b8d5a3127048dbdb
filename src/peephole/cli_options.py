"""The options that several commands share, each list in one place."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .errors import TimingsError, UsageError

if TYPE_CHECKING:
    from PIL import Image

    from .looking import Looking
    from .pipeline import How, Pipeline
    from .timings import Observer, Observers

F = TypeVar("F", bound=Callable[..., Any])


class ModelName(click.Choice[str]):
    """A model's name, or ``KIND:FILE`` for a file of the user's own."""

    def __init__(self, names: Sequence[str], *from_file: str) -> None:
        super().__init__(names)
        self._from_file = from_file

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name as it was given, if it is one."""
        kind, _, file = value.partition(":")
        return value if file and kind in self._from_file else super().convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:  # noqa: ARG002 - click's
        """What the help shows in its place."""
        kinds = "".join(f"|{kind}:FILE" for kind in self._from_file)
        return f"[{'|'.join(self.choices)}{kinds}]"


class Share(click.ParamType[float]):
    """A share, as 5% or 0.05."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """0.05 of either."""
        try:
            share = float(value.removesuffix("%")) / 100 if str(value).endswith("%") else float(value)
        except ValueError:
            share = math.nan
        if not 0 <= share < math.inf:
            self.fail(f"{value!r} is no share; write it like 5% or 0.05", param, ctx)
        return share


def tolerate_option(says: str) -> Callable[[F], F]:
    """``--tolerate``: by what share something may be slower."""
    return click.option("--tolerate", type=Share(), default="5%", show_default=True, metavar="SHARE", help=says)


DETECTOR_NAMES = ModelName(["mmod", "yunet", "dlib-cnn", "dlib-hog"], "yunet")
RECOGNIZER_NAMES = ModelName(["sface", "resnet", "dlib-resnet"], "sface", "onnx")


def grouped(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several decorators as one, the first at the top."""

    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


profile_option = click.option(
    "--profile",
    type=click.Choice(["modern", "classic"]),
    default="modern",
    show_default=True,
    help="Detector and recognizer together: modern is yunet and sface, classic is dlib's mmod and resnet.",
)
detector_option = click.option(
    "--detector", type=DETECTOR_NAMES, help="What finds the faces, instead of the profile's."
)
memory_option = click.option(
    "--memory",
    metavar="SIZE",
    help="What the whole process may take, as 256MiB.  [default: $PEEPHOLE_MEMORY, or what the cgroup and the "
    "machine leave]",
)
scale_options = grouped(
    profile_option,
    detector_option,
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
    memory_option,
)
look_options = grouped(
    scale_options,
    click.option(
        "--min-confidence",
        type=float,
        help="Leave out boxes at or below it, in the detector's own unit.  [default: what suits the detector]",
    ),
    click.option(
        "--rotate",
        type=click.Choice(["auto", "0", "90", "180", "270"]),
        default="auto",
        show_default=True,
        help="Degrees clockwise by which frames are turned so that people stand upright; auto finds out.",
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
)
in_process_option = click.option(
    "--in-process",
    is_flag=True,
    envvar="PEEPHOLE_IN_PROCESS",
    help="Look without a worker process: what befalls it then ends the run.  [also: $PEEPHOLE_IN_PROCESS=1]",
)
worker_options = grouped(
    click.option(
        "--deadline",
        type=click.FloatRange(0, min_open=True),
        default=300.0,
        show_default=True,
        help="Seconds after which a frame is given up.",
    ),
    click.option(
        "--quarantine",
        type=click.Path(file_okay=False),
        metavar="DIR",
        help="Keep copies of frames there that crash, hang or exhaust what looks at them.",
    ),
    in_process_option,
)
timing_options = grouped(
    click.option(
        "--timings",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help="Append a JSON line of timings a frame, and keep them in the history; see peephole timings.",
    ),
    click.option(
        "--timings-size",
        metavar="SIZE",
        default="16MiB",
        show_default=True,
        help="How large FILE may become; then it is put aside as FILE.1, that as FILE.2, and so on.",
    ),
    click.option(
        "--timings-files",
        type=click.IntRange(1),
        default=4,
        show_default=True,
        help="How many files are kept of FILE, itself included.",
    ),
    click.option(
        "--history",
        type=click.Path(),
        metavar="FILE",
        help="The history that outlives these files; none keeps none.  [default: with --timings, $PEEPHOLE_HISTORY or "
        "the platform's place for a user's data]",
    ),
)
frame_options = grouped(
    click.argument("images", nargs=-1, required=True, metavar="FILE|DIR|-..."),
    look_options,
    click.option("--jsonl", is_flag=True, help="Print a JSON line an image instead of a table."),
    click.option(
        "--draw",
        type=click.Path(file_okay=False),
        metavar="DIR",
        help="Write annotated copies there; what lies there from an earlier run may be overwritten.",
    ),
    timing_options,
    worker_options,
)
recognizer_option = click.option(
    "--recognizer",
    type=RECOGNIZER_NAMES,
    help="What turns faces into vectors, instead of the profile's.",
)
stored_by_option = click.option(
    "--recognizer",
    type=RECOGNIZER_NAMES,
    default="sface",
    show_default=True,
    help="The model by whose vectors the gallery's faces are compared.",
)
gallery_option = click.option(
    "--gallery",
    type=click.Path(),
    metavar="FILE",
    help="The gallery.  [default: $PEEPHOLE_GALLERY, or the platform's place for a user's data]",
)
people_option = click.option(
    "--people",
    type=click.Path(),
    metavar="DIR",
    help="In place of the gallery, a folder of photos for each person: DIR/NAME/*.jpg.",
)
threshold_option = click.option(
    "--threshold",
    type=click.FloatRange(0),
    help="Decide by this alone: the largest Euclidean distance (resnet), or the least cosine (sface), that is the same "
    "person.  [default: the recognizer's rule, at most 1 stranger in 1,000]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print a JSON line each instead of a table.")


def chosen_gallery(own: str | None) -> str | None:
    """The gallery that the command names, or else the group of commands that it belongs to."""
    above = click.get_current_context().parent
    return own or (above.params.get("gallery") if above else None)


def frame_size(text: str) -> tuple[int, int]:
    """(width, height) from ``1536x1536``.

    Raises:
        UsageError: it is no such thing.
    """
    width, separator, height = text.lower().partition("x")
    if not (separator and width.isdecimal() and height.isdecimal()):
        raise UsageError(f"--size takes WIDTHxHEIGHT in pixels, as 1536x1536, not {text!r}")
    if not (int(width) and int(height)):
        raise UsageError(f"a frame of {int(width)}x{int(height)} has no pixels")
    return int(width), int(height)


def open_pipeline(options: dict[str, Any]) -> tuple[Pipeline, How]:
    """The pipeline that the options above ask for, and what its `Pipeline.analyse` is to be told.

    Raises:
        UsageError: they cannot work.
    """
    from . import pipeline, planner

    scale = pipeline.Scale(**{name: options[name] for name in _SIZES if name in options})
    planner.check((1, 1), scale.max_side, scale.upsample, scale.min_face, scale.max_face)
    least = options.get("min_confidence")
    pipeline.check(least, None)
    opened = pipeline.Pipeline(**{name: options[name] for name in _CHOICES if name in options})
    rotate = options.get("rotate") or "auto"
    turn = None if rotate == "auto" else int(rotate)
    return opened, pipeline.How(scale=scale, min_confidence=least, rotate=turn)


def open_looking(options: dict[str, Any], *, embed: bool, keep: bool) -> tuple[Looking, How]:
    """What looks at frames as the options above ask for, and what its ``analyse`` is to be told.

    Args:
        options: of the command line; those that the command does not have are as by default.
        embed: the recognizer is needed too.
        keep: frames are drawn on, or cut up.

    Raises:
        UsageError: they cannot work.
    """
    if options["in_process"]:
        from .looking import InProcess

        opened, how = open_pipeline(options)
        return InProcess(opened, keep=keep), how
    return _supervised(options, embed)


def _supervised(options: dict[str, Any], embed: bool) -> tuple[Looking, How]:
    """A worker, which is started before all else: what it has to load takes as long as what this process has to."""
    from .worker.process import Process

    with ExitStack() as undo:
        first: Process | None = None
        with suppress(OSError):  # the host tries again, and says why
            first = Process()
            undo.callback(first.end, grace=0.0)
        from .worker.host import Options, WorkerHost

        _, how = open_pipeline(options)
        chosen = Options(embed=embed, **{name: options[name] for name in _CHOICES if name in options})
        supervision = {name: options[name] for name in _SUPERVISION if name in options}
        host = WorkerHost(chosen, started=first, **supervision)
        undo.pop_all()
        return host, how


def open_observers(options: dict[str, Any], warn: Callable[[str], object]) -> Observers:
    """Who is told of each frame's timings as `timing_options` ask for, maybe nobody.

    Args:
        options: of the command line.
        warn: told of what cannot be written; looking goes on without it.

    Raises:
        UsageError: the log cannot be written.
        TimingsError: the history that was asked for cannot be used.
    """
    from .timings import Observers

    if options["timings"] is None and options["history"] is None:
        return Observers()
    from .memory import parse_size
    from .timings import History, TimingLog
    from .timings.history import HISTORY_VARIABLE, NONE

    opened: list[Observer] = []
    if options["timings"] is not None:
        size = parse_size(options["timings_size"])
        opened.append(TimingLog(options["timings"], rotate=size, keep=options["timings_files"]))
    named = options["history"] or os.environ.get(HISTORY_VARIABLE)
    if named != NONE:
        try:
            opened.append(History(named))
        except (TimingsError, UsageError) as error:
            if named:
                raise
            warn(f"{error}; looking goes on without it")  # nobody has asked for it by name
    return Observers(*opened, warn=warn)


_SIZES = ("max_side", "upsample", "min_face", "max_face")
_CHOICES = ("profile", "detector", "recognizer", "threads", "memory", "runtime", "precision")
_SUPERVISION = ("deadline", "quarantine")
LOOK = (*_SIZES, *_CHOICES, *_SUPERVISION, "min_confidence", "rotate", "in_process")
"""What `open_looking` reads, where the command has it."""
TIMINGS = ("timings", "timings_size", "timings_files", "history")
"""What `open_observers` reads."""


def save_picture(picture: Image.Image, file: Path, what: str) -> None:
    """Write a picture and say so on standard error.

    Raises:
        UsageError: it cannot be written there, or its name ends like no picture's.
    """
    try:
        picture.save(file)
    except (OSError, ValueError) as error:  # ValueError: no picture's suffix
        raise UsageError(f"{file} cannot be written: {getattr(error, 'strerror', None) or error}") from error
    click.echo(f"{what}: {file}", err=True)
