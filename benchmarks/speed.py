"""How fast the streamed detector is: against dlib, against the processor's own arithmetic, against no streaming.

    python benchmarks/speed.py [--runs 5] [--dlib-runs 3] [--dlib-python PYTHON] [--skip-dlib] [--json FILE]

One 1536x1536 frame, the detection alone, everything warmed up. The two sides of each comparison run in turn, and the
figure is the median of the pairs' ratios; a dlib run takes a quarter of a minute, so beside each stand three of
``mmod`` and their median counts. "CPU" is the same ratio in processor seconds of all threads, which neighbours on the
machine disturb less: where it and the ratio disagree, the machine was busy, or a side's threads waited.

1. ``mmod`` against the dlib wheel (detector ``dlib-cnn``), in this process.
2. Against a dlib built with BLAS and AVX: ``--dlib-python`` names an interpreter that has it and numpy; nothing else
   needs to be there. Each of its runs is a child process that times the call alone.
3. Against float32 matrix products of 2048x2048 in numpy: the plan's operations at that rate are the time that the
   processor needs at least. The arithmetic of halos and of the canvas's empty parts is not in these operations.
4. Streamed (the planner's largest tiling) against all at once.
5. The networks in OpenVINO, where it is installed, against the same float32 matrix products: bfloat16, where the
   processor has it, and float32. The operations are as in 3; the pyramid stays ONNX Runtime's.

Last, a profile: where a streamed detection's seconds go, and the rate of each network.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import Report, arguments, demo_frame, run_json

MATRIX = 2048
BLAS_CALL = """
import json, sys, time, dlib, numpy
detector = dlib.cnn_face_detection_model_v1(sys.argv[1])
frame = numpy.load(sys.argv[2])
detector(numpy.ascontiguousarray(frame[:160, :160]), 0)
start, cpu = time.perf_counter(), time.process_time()
faces = len(detector(frame, 0))
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
build = {"blas": dlib.DLIB_USE_BLAS, "avx": dlib.USE_AVX_INSTRUCTIONS}
print(json.dumps({"seconds": seconds, "cpu": cpu, "faces": faces, **build}))
"""


Times = tuple[float, float]
"""Seconds, by the clock and of all processors."""


def times(work: Callable[[], object]) -> Times:
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - cpu


def median_times(work: Callable[[], object], runs: int = 3) -> Times:
    each = [times(work) for _ in range(runs)]
    return statistics.median(clock for clock, _ in each), statistics.median(cpu for _, cpu in each)


def compare(what: str, ours: Callable[[], Times], other: Callable[[], Times], runs: int) -> dict[str, Any]:
    """Both sides in turn, the order changing from pair to pair; a row of the table."""
    pairs = []
    for index in range(runs):
        if index % 2:
            theirs = other()
            pairs.append((ours(), theirs))
        else:
            mine = ours()
            pairs.append((mine, other()))
    ratios = [theirs[0] / mine[0] for mine, theirs in pairs]
    row = {"what": what, "pairs": pairs, "ratio": statistics.median(ratios)}
    row["cpu_ratio"] = statistics.median(theirs[1] / mine[1] for mine, theirs in pairs)
    row["seconds"] = [statistics.median(pair[side][0] for pair in pairs) for side in (0, 1)]
    mine, theirs = row["seconds"]
    spread = f"{min(ratios):.3g} .. {max(ratios):.3g}"
    print(f"{what:44} {mine:8.4f} {theirs:8.4f} {row['ratio']:7.3f} {row['cpu_ratio']:7.3f}   {spread}", flush=True)
    return row


def openvino_rows(frame: Any, plan: Any, multiply: Callable[[], Times]) -> dict[str, dict[str, Any]]:
    """OpenVINO against matrix products, by precision; without those that cannot be had here."""
    from peephole.detectors import open_detector
    from peephole.errors import UsageError
    from peephole.models.session import Runtime

    found = {}
    for precision in ("bfloat16", "float32"):
        what = f"native, OpenVINO {precision}: matrix products"
        try:
            detector = open_detector("mmod", Runtime("openvino", precision))
        except UsageError as error:
            print(f"{what}: left out, {error}", flush=True)
            continue

        def scan(detector: Any = detector) -> object:
            return list(detector.scan(frame, plan, 0.0))

        for _ in range(2):
            scan()
        found[precision] = compare(what, lambda scan=scan: times(scan), multiply, 9)
    return found


@contextmanager
def profiled(detector: Any) -> Iterator[dict[str, float]]:
    """Collect the seconds of the networks, of filling the canvas and of resampling; each without those inside it."""
    from peephole import pyramid
    from peephole.detectors import mmod

    spent: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    inside: list[float] = []

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            inside.append(0.0)
            start = time.perf_counter()
            result = function(*given, **named)
            took = time.perf_counter() - start
            spent[name] += took - inside.pop()
            calls[name] += 1
            if inside:
                inside[-1] += took
            return result

        return call

    sessions = {name: getattr(detector, f"_{name}") for name in ("stem", "tail")}
    fill, rows = mmod._Canvas.pixels, pyramid.Pyramid.rows
    try:
        for name, session in sessions.items():
            session.run = timed(name, session.run)
        mmod._Canvas.pixels = timed("canvas", fill)  # type: ignore[method-assign]
        pyramid.Pyramid.rows = timed("pyramid", rows)  # type: ignore[method-assign]
        yield spent
    finally:
        for session in sessions.values():
            del session.run
        mmod._Canvas.pixels, pyramid.Pyramid.rows = fill, rows  # type: ignore[method-assign]
        spent.update({f"{name} calls": count for name, count in calls.items()})


def profile(detector: Any, frame: Any, plan: Any, runs: int) -> list[dict[str, Any]]:
    """Print and return where the time goes: the median run's seconds by part."""
    from peephole import planner

    found = []
    for _ in range(runs):
        with profiled(detector) as spent:
            total, _ = times(lambda: list(detector.scan(frame, plan, 0.0)))
        found.append((total, dict(spent)))
    total, spent = sorted(found, key=lambda each: each[0])[len(found) // 2]
    parts = [name for name in ("stem", "tail", "pyramid", "canvas") if name in spent]
    spent["rest"] = total - sum(spent[name] for name in parts)
    # Multiply-adds a pixel, twice: of the three convolutions of stride 2, and of the four behind them.
    operations = {"stem": 2 * (75 * 16 / 4 + 400 * 32 / 16 + 800 * 32 / 64)}
    operations["tail"] = detector.profile.operations_per_pixel - operations["stem"]
    pixels = sum(level.size[0] * level.size[1] for level in plan.levels)
    width, height = planner.canvas_size(plan.levels, detector.profile)
    print(f"{'part':10} {'seconds':>8} {'share':>6} {'calls':>6} {'GFLOP':>7} {'GFLOP/s':>8}")
    rows = []
    for name in (*parts, "rest"):
        row = {"part": name, "seconds": spent[name], "calls": spent.get(f"{name} calls", 0)}
        text = f"{name:10} {spent[name]:8.4f} {spent[name] / total:6.1%} {row['calls']:6}"
        if name in operations:
            row["gflop"] = operations[name] * pixels / 1e9
            text += f" {row['gflop']:7.1f} {row['gflop'] / spent[name]:8.1f}"
        rows.append(row)
        print(text)
    print(f"the canvas is {width}x{height}: {width * height / pixels:.3f} times the levels' pixels", flush=True)
    return rows


def main() -> None:
    import numpy as np

    from peephole import planner
    from peephole.detectors import open_detector
    from peephole.models import store

    parser = arguments(__doc__)
    parser.add_argument("--runs", type=int, default=5, help="pairs of 3 and 4, and runs profiled")
    parser.add_argument("--dlib-runs", type=int, default=3, help="pairs of 1 and 2")
    parser.add_argument("--dlib-python", metavar="PYTHON", help="an interpreter whose dlib has BLAS and AVX")
    parser.add_argument("--skip-dlib", action="store_true", help="leave out 1")
    options = parser.parse_args()
    report = Report()
    frame = demo_frame()
    side = frame.shape[0]
    detector = open_detector("mmod")
    native, classic = (
        planner.plan((side, side), detector.profile, tiling=planner.TILINGS[0], **scale)
        for scale in ({}, {"max_side": 720, "upsample": 1})
    )
    whole = replace(native, tiling=planner.WHOLE)

    def scan(plan: planner.Plan) -> Callable[[], object]:
        return lambda: list(detector.scan(frame, plan, 0.0))

    for plan in (native, classic, whole):
        for _ in range(2):
            scan(plan)()
    print(f"\n{'what':44} {'mmod, s':>8} {'other, s':>8} {'ratio':>7} {'CPU':>7}   range of the ratio")
    rows, verdicts = [], []

    factor = np.random.default_rng(0).random((MATRIX, MATRIX), np.float32)
    product = np.empty_like(factor)

    def multiply() -> Times:
        """What the native plan's operations take as matrix products."""
        clock, cpu = median_times(lambda: np.matmul(factor, factor, out=product))
        products = native.operations / (2 * MATRIX**3)
        return clock * products, cpu * products

    multiply()
    rows.append(compare("native: matrix products, as many operations", lambda: times(scan(native)), multiply, 9))
    ideal = rows[-1]["seconds"][1]
    verdicts.append(("time / (operations / rate of matrix products)", 1 / rows[-1]["ratio"], 1.2, False))
    rows.append(compare("native: not streamed", lambda: times(scan(native)), lambda: times(scan(whole)), 9))
    verdicts.append(("streamed / unstreamed time", 1 / rows[-1]["ratio"], 1.1, False))
    in_openvino = openvino_rows(frame, native, multiply)
    rows += in_openvino.values()
    if "bfloat16" in in_openvino:
        what = "bfloat16: time / (operations / rate of float32 matrix products)"
        verdicts.append((what, 1 / in_openvino["bfloat16"]["ratio"], 0.75, False))
    if not options.skip_dlib:
        wheel = open_detector("dlib-cnn")
        for what, plan, scale, bar in (
            ("720 with upsampling: dlib wheel", classic, {"max_side": 720, "upsample": 1}, 32),
            ("native: dlib wheel", native, {}, 45),
        ):
            theirs = planner.plan((side, side), wheel.profile, **scale)
            run = compare(
                what,
                lambda plan=plan: median_times(scan(plan)),
                lambda theirs=theirs: times(lambda: list(wheel.scan(frame, theirs, 0.0))),
                options.dlib_runs,
            )
            rows.append(run)
            verdicts.append((f"{what}, times as fast", run["ratio"], bar, True))
    if options.dlib_python:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "frame.npy"
            np.save(file, frame)
            command = [options.dlib_python, "-c", BLAS_CALL, str(store.locate(store.MMOD)), str(file)]
            first = run_json(command)
            if not (first["blas"] and first["avx"]):
                sys.exit(f"the dlib of --dlib-python has BLAS: {first['blas']}, AVX: {first['avx']}; it needs both")

            def blas() -> Times:
                got = run_json(command)
                return got["seconds"], got["cpu"]

            run = compare(
                "native: dlib with BLAS and AVX",
                lambda: median_times(scan(native)),
                blas,
                options.dlib_runs,
            )
        rows.append(run)
        verdicts.append(("native: dlib with BLAS and AVX, times as fast", run["ratio"], 16, True))
    print(f"\n{native.operations / 1e9:.1f} GFLOP; matrix products: {native.operations / ideal / 1e9:.0f} GFLOP/s")
    print("\nnative, streamed: where the time goes")
    parts = profile(detector, frame, native, options.runs)
    print()
    for what, value, bar, least in verdicts:
        report.verdict(what, value, bar, least=least)
    report.end(options.json, comparisons=rows, profile=parts)


if __name__ == "__main__":
    main()
