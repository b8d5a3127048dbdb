"""``peephole bench``: what this box takes for a frame, configuration by configuration; and may this model be bumped."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .cli_options import DETECTOR_NAMES, RECOGNIZER_NAMES, gallery_option, save_picture, tolerate_option
from .errors import GalleryModelMismatch, UsageError

if TYPE_CHECKING:
    from .bench import Bench, Knowing, Result
    from .bench_pictures import Missing, Picture
    from .frame import Frame
    from .looking import Looking
    from .match import People, Rule
    from .model_change import ModelChange
    from .pipeline import Scale

SOME_FAILED = 1
REPEAT = 5
LOOKS = 60
"""With --models at least so many looks at each side: the interval of their ratio would be wide otherwise."""
TIME_BUDGET = 300.0
NATIVE = "native"
MOST_PIXELS = 12e6
"""Of a frame that is drawn on: a JPEG that has more is decoded smaller."""
MOST_CHANGES = 40
"""Lines of changes on a terminal; --report has all of them."""


class Side(click.ParamType[int | None]):
    """Pixels of the longer side, or the native size."""

    name = "side"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """None for the native size."""
        if value == NATIVE:
            return None
        if not (isinstance(value, str) and value.isdecimal() and int(value)):
            self.fail(f"{value!r} is neither {NATIVE} nor a number of pixels", param, ctx)
        return int(value)


@click.command()
@click.argument("names", nargs=-1, metavar="[FILE|DIR...]")
@click.option("--detector", "detectors", multiple=True, type=DETECTOR_NAMES, help="Only this one; may be repeated.")
@click.option("--recognizer", "recognizers", multiple=True, type=RECOGNIZER_NAMES, help="Only this one; likewise.")
@click.option("--all", "references", is_flag=True, help="Also dlib's own code, which takes 17 s for a frame.")
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    type=click.Choice(["onnxruntime", "openvino"]),
    help="Only this one; likewise.  [default: those that are installed]",
)
@click.option(
    "--threads",
    multiple=True,
    type=click.IntRange(1),
    help="Compute threads; likewise.  [default: 1, and one a usable processor]",
)
@click.option(
    "--max-side",
    "sides",
    multiple=True,
    type=Side(),
    metavar="PIXELS|native",
    help="Shrink so that the longer side has this many pixels; likewise.  [default: native, and 720]",
)
@click.option(
    "--upsample",
    "upsamples",
    multiple=True,
    type=click.IntRange(0, 4),
    help="Double the sides this many times after shrinking; likewise.  [default: 0]",
)
@click.option(
    "--memory",
    metavar="SIZE",
    help="What each process may take, as 256MiB.  [default: $PEEPHOLE_MEMORY, or what the cgroup and the machine "
    "leave]",
)
@click.option(
    "--repeat",
    type=click.IntRange(1),
    help=f"Rounds over all pictures.  [default: {REPEAT}; with --models as many as make {LOOKS} looks at each]",
)
@click.option(
    "--time-budget",
    type=click.FloatRange(0, min_open=True),
    default=TIME_BUDGET,
    show_default=True,
    metavar="SECONDS",
    help="Begin no further round after this long; the first one is always finished.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write every measurement as a JSON line; peephole timings compare reads them.",
)
@click.option(
    "--models",
    nargs=2,
    metavar="OLD NEW",
    help="Compare two models: detectors, recognizers, or pairs DETECTOR+RECOGNIZER; a file as yunet:FILE or onnx:FILE.",
)
@gallery_option
@click.option(
    "--people",
    type=click.Path(),
    metavar="DIR",
    help="With --models, instead of the gallery a folder of photos for each person: DIR/NAME/*.jpg.",
)
@click.option("--no-names", is_flag=True, help="With --models, compare the faces found and not who they are.")
@tolerate_option("With --models, how much slower NEW may be.")
@click.option(
    "--sheet",
    type=click.Path(dir_okay=False),
    metavar="FILE.png|jpg",
    help="With --models, draw the frames that changed, both models' boxes on them.",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False),
    metavar="FILE.json",
    help="With --models, write the answer as JSON.",
)
def bench(
    names: tuple[str, ...],
    repeat: int | None,
    json_file: str | None,
    models: tuple[str, str] | None,
    **options: Any,
) -> None:
    """Measure what this box takes for a frame; or, with --models, whether a model may be bumped.

    Every detector and recognizer that is installed, by runtime, threads and scale: time, peak memory, smallest face
    and faces found. Each combination runs in a process of its own, all on the same pictures, in turns. Without
    pictures some built-in frames are looked at. Ctrl-C ends it and prints what there is.

    With --models the exit status is 1 where NEW loses a face, changes a name or is slower beyond --tolerate.
    """
    from .bench_pictures import built_in, find_pictures
    from .files import READ, PassedOver
    from .report import escaped

    for file in (json_file, options["sheet"], options["report"]):
        if file is not None:
            _refuse_unwritable(Path(file))
    if options["sheet"] is not None and Path(options["sheet"]).suffix.lower() not in READ:
        raise UsageError(f"--sheet {options['sheet']} ends like no picture: name it FILE.png or FILE.jpg")
    if models is None:
        given = [name for name in ("people", "gallery", "sheet", "report") if options[name] is not None]
        if given or options["no_names"]:
            raise UsageError(f"--{given[0] if given else 'no-names'} goes with --models OLD NEW")
    if options["people"] is not None and (options["gallery"] is not None or options["no_names"]):
        raise UsageError("--people, --gallery and --no-names are three ways to say who is known: give one of them")
    passed = PassedOver()
    pictures, missing = find_pictures(names, passed) if names else (built_in(), [])
    if passed:
        click.echo(f"peephole: {escaped(str(passed))}", err=True)
    _say_missing(missing)
    if models is None:
        bad = _measured(pictures, repeat or REPEAT, json_file, options)
    else:
        bad = _compared(models, pictures, repeat or max(REPEAT, -(-LOOKS // len(pictures))), json_file, options)
    sys.exit(SOME_FAILED if bad or missing else 0)


def _measured(pictures: Sequence[Picture], repeat: int, json_file: str | None, options: dict[str, Any]) -> bool:
    """Measure all combinations and print a row each; whether something failed."""
    from . import bench

    detectors, recognizers = bench.installed(references=options["references"])
    chosen = bench.configurations(
        options["detectors"] or detectors,
        options["recognizers"] or recognizers,
        options["runtimes"] or bench.runtimes(),
        options["threads"] or bench.thread_counts(),
        _scales(options) or bench.scales(pictures),
    )
    if not chosen:
        raise UsageError("there is nothing to measure: no model is installed; peephole models verify says why")
    _say_plan(len(chosen), pictures, repeat)
    with _progress(len(chosen), pictures, repeat) as told:
        done = bench.measure(
            chosen,
            pictures,
            opened=bench.in_worker(options["memory"]),
            repeat=repeat,
            time_budget=options["time_budget"],
            told=told,
        )
    _write_lines(json_file, done)
    for line in table(done):
        click.echo(line)
    _say_missing(done.blind)
    _say_rounds(done, repeat, len(pictures))
    return done.interrupted or any(each.error or each.problems for each in done.results)


def _scales(options: dict[str, Any]) -> list[Scale]:
    """The scales that were asked for; none for the usual ones."""
    from .pipeline import Scale

    if not (options["sides"] or options["upsamples"]):
        return []
    return [
        Scale(max_side=side, upsample=up) for side in options["sides"] or [None] for up in options["upsamples"] or [0]
    ]


def table(done: Bench) -> list[str]:
    """A row a configuration, the fastest first, those that could not be measured last."""
    from .report import Table

    columns = [("detector", -8), ("recognizer", -11), ("runtime", -11), ("threads", 7), ("scale", -9), ("ms", 8)]
    columns += [("half of them", 15), ("detect", 8), ("embed", 7), ("MB", 6), ("face px", 7), ("faces", 5), ("", -40)]
    out = Table(_widened(columns, [_words(each) for each in done.results]))
    ordered = sorted(done.results, key=lambda each: (not each.looks, each.quartiles()[1] if each.looks else 0.0))
    blind = {name for name, _ in done.blind}
    return [out.header(), *(out.row([*_words(each), *_numbers(each, blind)]) for each in ordered)]


def _widened(columns: list[tuple[str, int]], cells: Sequence[Sequence[str]]) -> list[tuple[str, int]]:
    """Left columns as wide as their longest cell."""
    longest = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        (name, -max(-width, longest[index]) if width < 0 and index < len(longest) else width)
        for index, (name, width) in enumerate(columns)
    ]


def _words(result: Result) -> list[str]:
    from .bench import REFERENCES
    from .model_change import short

    setup = result.configuration
    scale = str(setup.scale.max_side or NATIVE) + (f" x{2**setup.scale.upsample}" if setup.scale.upsample else "")
    ran = ("dlib", "-") if {setup.detector, setup.recognizer} <= REFERENCES else (setup.runtime, str(setup.threads))
    return [short(setup.detector), short(setup.recognizer), *ran, scale]


def _numbers(result: Result, blind: Collection[str]) -> list[str]:
    if not result.looks:
        return [f"not measured: {result.error}" if result.error else "not measured yet"]
    first, median, third = result.quartiles()
    stages = [f"{result.quartiles(stage)[1]:.1f}" for stage in ("detect", "embed")]
    found = [f"{result.peak_mb:.0f}", f"{result.smallest_face:.0f}", str(result.faces)]
    return [f"{median:.1f}", f"{first:.1f}-{third:.1f}", *stages, *found, _notes(result, blind)]


def _notes(result: Result, blind: Collection[str]) -> str:
    """What a reader of the row must know; of pictures that nobody could look at there is a line elsewhere."""
    notes = []
    problems = [each for each in result.problems if each[0] not in blind]
    if result.error:
        notes.append(f"then: {result.error}")
    elif problems:
        name, error = problems[0]
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        notes.append(f"without {Path(name).name}{more}: {error}")
    if any(each.retried for _, each in result.analyses):
        notes.append("killed for memory, then within less")
    if any(each.plan.coarsened_from for _, each in result.analyses):
        notes.append("more coarsely than asked for: the budget is small")
    return "; ".join(notes)


def _compared(
    models: tuple[str, str], pictures: Sequence[Picture], repeat: int, json_file: str | None, options: dict[str, Any]
) -> bool:
    """Measure two models and print what changes; whether NEW is worse."""
    from . import bench
    from .model_change import compare_models, sides

    one = {name: _only(options[name], name) for name in ("detectors", "recognizers", "runtimes", "threads")}
    scales = _scales(options)
    _only(scales, "scales")
    both = sides(*models, one["detectors"], one["recognizers"])
    setups = [
        bench.Configuration(
            each.detector,
            each.recognizer,
            one["runtimes"] or "onnxruntime",
            one["threads"] or bench.thread_counts()[-1],
            *scales,
        )
        for each in both
    ]
    _say_plan(len(setups), pictures, repeat)
    with _knowing(options) as knowing, _progress(len(setups), pictures, repeat) as told:
        done = bench.measure(
            setups,
            pictures,
            opened=bench.in_worker(options["memory"]),
            repeat=repeat,
            time_budget=options["time_budget"],
            knowing=knowing,
            told=told,
        )
    _write_lines(json_file, done)
    old, new = done.results
    if not (old.error or new.error or (old.looks and new.looks)):
        raise KeyboardInterrupt  # so early that there is nothing to compare
    change = compare_models(both, old, new, tolerate=options["tolerate"], named=knowing is not None)
    _say_missing(done.blind)
    for line in change.lines(MOST_CHANGES):
        click.echo(line)
    if options["sheet"] is not None:
        _draw(change, Path(options["sheet"]), pictures)
    if options["report"] is not None:
        _write(Path(options["report"]), json.dumps(change.to_dict(), indent=1) + "\n")
    _say_rounds(done, repeat, len(pictures))
    click.echo(f"\n{change.sentence()}")
    return done.interrupted or bool(done.blind) or not change.good


def _only(given: Sequence[Any], what: str) -> Any:
    """The one value of an option, or None.

    Raises:
        UsageError: there are several.
    """
    if len(given) > 1:
        raise UsageError(f"with --models both sides are measured with the same {what}: name one")
    return given[0] if given else None


@contextmanager
def _knowing(options: dict[str, Any]) -> Iterator[Knowing | None]:
    """What tells whom a recognizer knows; None, and a word on standard error, where nobody is known."""
    if options["no_names"]:
        yield None
        return
    if options["people"] is not None:
        yield lambda looking: _photographed(options["people"], looking)
        return
    from .gallery import Gallery, gallery_path
    from .people import Known, refuse_nobody

    if options["gallery"] is None and not gallery_path().exists():
        click.echo(
            "peephole: nobody is enrolled, so names are not compared; --people DIR would say who is known", err=True
        )
        yield None
        return
    with Gallery.open(options["gallery"], create=False) as gallery:
        refuse_nobody(gallery)

        def known(looking: Looking) -> tuple[People, Rule]:
            recognizer = looking.recognizer
            try:
                return Known().read(gallery, recognizer)
            except GalleryModelMismatch as error:
                raise GalleryModelMismatch(
                    f"{recognizer.name}: {error}; or compare without names: --no-names", missing=error.missing
                ) from error

        yield known


def _photographed(folder: str, looking: Looking) -> tuple[People, Rule]:
    """The people of a folder, by the recognizer of what looks."""
    from .people import load_people
    from .report import escaped

    recognizer = looking.recognizer
    people = load_people(folder, looking)
    for path, reason in people.problems:
        click.echo(f"peephole: {escaped(path)}, by {recognizer.name}: {reason}", err=True)
    return people, recognizer.rule


def _draw(change: ModelChange, file: Path, pictures: Sequence[Picture]) -> None:
    """Draw the frames that changed, and say so."""
    from .change_sheet import change_sheet
    from .frame import load, snapshot

    sources = {each.name: each.source for each in pictures}

    def frame(name: str) -> Frame:
        source = sources[name]
        opened = snapshot(source if isinstance(source, bytes) else load(source), name)
        pixels = opened.size[0] * opened.size[1]
        return opened.decode(next(each for each in (1, 2, 4, 8) if pixels / each**2 <= MOST_PIXELS or each == 8))

    save_picture(change_sheet(change.changed, frame, change.names), file, "drawn")


@contextmanager
def _progress(setups: int, pictures: Sequence[Picture], repeat: int) -> Iterator[Callable[[str], object] | None]:
    """What is told of each look, where a person waits at a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    looks = setups * (len(pictures) * repeat + len({each.size for each in pictures}))
    with tqdm(total=looks, unit="look", file=sys.stderr, leave=False) as bar:

        def told(what: str) -> None:
            bar.set_postfix_str(what, refresh=False)
            bar.update()

        yield told


def _say_plan(setups: int, pictures: Sequence[Picture], repeat: int) -> None:
    """What is about to be measured, and on which processor."""
    from .model_change import counted
    from .timings.environment import cpu_model

    own = "picture" if isinstance(pictures[0].source, str) else "built-in picture"
    amount = [counted(setups, "configuration"), counted(len(pictures), own), counted(repeat, "round")]
    click.echo(f"{cpu_model() or 'this machine'}: {', '.join(amount)}", err=True)


def _say_missing(missing: Sequence[Missing]) -> None:
    from .report import escaped

    for name, error in missing:
        click.echo(f"peephole: {escaped(name)}: {error}", err=True)


def _say_rounds(done: Bench, repeat: int, pictures: int) -> None:
    """How much the figures rest on, where it is less than was asked for."""
    from .model_change import counted

    ended = "interrupted" if done.interrupted else "out of time (--time-budget)" if done.rounds < repeat else ""
    if ended:
        finished = f"{done.rounds} of {counted(repeat, 'round')} over {counted(pictures, 'picture')}"
        click.echo(f"peephole: {ended} after {finished}", err=True)


def _refuse_unwritable(file: Path) -> None:
    """Find out before anything is measured that a file could not be written afterwards."""
    there = file.exists()
    _write(file, "", mode="a")
    if not there:
        file.unlink(missing_ok=True)


def _write_lines(file: str | None, done: Bench) -> None:
    """The measurements in the order of time, a JSON line each."""
    if file is not None:
        lines = sorted((line for each in done.results for line in each.lines()), key=lambda line: str(line["time"]))
        _write(Path(file), "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))


def _write(file: Path, text: str, mode: str = "w") -> None:
    """Write a text.

    Raises:
        UsageError: it cannot be written there.
    """
    try:
        with file.open(mode, encoding="utf-8") as out:
            out.write(text)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror or error}") from error
