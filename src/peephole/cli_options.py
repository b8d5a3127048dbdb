"""The options that several commands share, each list in one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

    from .looking import Looking
    from .pipeline import Pipeline

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


DETECTOR_NAMES = ModelName(["mmod", "yunet", "dlib-cnn", "dlib-hog"], "yunet")
RECOGNIZER_NAMES = ModelName(["sface", "resnet", "dlib-resnet"], "sface", "onnx")


def grouped(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several decorators as one, the first at the top."""

    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


scale_options = grouped(
    click.option(
        "--profile",
        type=click.Choice(["modern", "classic"]),
        default="modern",
        show_default=True,
        help="Detector and recognizer together: modern is yunet and sface, classic is dlib's mmod and resnet.",
    ),
    click.option("--detector", type=DETECTOR_NAMES, help="What finds the faces, instead of the profile's."),
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
look_options = grouped(
    scale_options,
    click.option(
        "--min-confidence",
        type=float,
        help="Leave out boxes at or below it, in the detector's own unit.  [default: what suits the detector]",
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
    click.option(
        "--in-process",
        is_flag=True,
        envvar="PEEPHOLE_IN_PROCESS",
        help="Look without a worker process: what befalls it then ends the run.  [also: $PEEPHOLE_IN_PROCESS=1]",
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
    click.option(
        "--timings",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help="Append a JSON line of timings a frame.",
    ),
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
json_option = click.option("--json", "as_json", is_flag=True, help="Print a JSON line each instead of a table.")


def open_pipeline(options: dict[str, Any]) -> tuple[Pipeline, dict[str, Any]]:
    """The pipeline that the options above ask for, and what its `Pipeline.analyse` is to be told.

    Raises:
        UsageError: they cannot work.
    """
    from . import pipeline, planner

    sizes = {name: options[name] for name in _SIZES}
    planner.check((1, 1), **sizes)
    least = options.get("min_confidence")
    pipeline.check(least, None)
    opened = pipeline.Pipeline(**{name: options[name] for name in _CHOICES if name in options})
    return opened, {"scale": pipeline.Scale(**sizes), "min_confidence": least}


def open_looking(options: dict[str, Any], *, embed: bool, keep: bool) -> tuple[Looking, dict[str, Any]]:
    """What looks at frames as `frame_options` ask for, and what its ``analyse`` is to be told.

    Args:
        options: of the command line.
        embed: the recognizer is needed too.
        keep: frames are drawn on, or cut up.

    Raises:
        UsageError: they cannot work.
    """
    from .looking import InProcess
    from .worker.host import Options, WorkerHost

    opened, look = open_pipeline(options)
    if options["in_process"]:
        return InProcess(opened, keep=keep), look
    chosen = Options(embed=embed, **{name: options[name] for name in _CHOICES if name in options})
    return WorkerHost(chosen, deadline=options["deadline"], quarantine=options["quarantine"]), look


_SIZES = ("max_side", "upsample", "min_face", "max_face")
_CHOICES = ("profile", "detector", "recognizer", "threads", "memory", "runtime", "precision")
LOOK = (*_SIZES, *_CHOICES, "min_confidence", "deadline", "quarantine", "in_process")
"""What `open_looking` reads, where the command has it."""


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
