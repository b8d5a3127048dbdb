"""Records of timings as a machine with neighbours would make them; seeded."""

from datetime import UTC, datetime, timedelta

import numpy as np

from peephole.timings.record import Record

STAGES = {"decode": 6.0, "plan": 0.2, "detect": 22.0, "map": 0.15, "align": 1.7, "embed": 24.0}
START = datetime(2026, 5, 1, tzinfo=UTC)


def ar(rng, count, correlation):
    """A series of variance 1 in which neighbours are alike."""
    shocks = rng.standard_normal(count) * np.sqrt(1 - correlation**2)
    found = np.empty(count)
    last = rng.standard_normal()
    for index, shock in enumerate(shocks):
        last = found[index] = correlation * last + shock
    return found


def run(
    rng,
    *,
    frames=200,
    pictures=40,
    slower=None,
    machine=0.0,
    noise=0.02,
    drift=0.01,
    own=0.006,
    busy=0.0,
    start=START,
    cpu=True,
    stages=STAGES,
    **fields,
):
    """The records of one run.

    Args:
        rng: draws the noise.
        frames, pictures: so many frames of so many pictures in turn, the same ones in every run.
        slower: stage → factor.
        machine: logarithm by which this whole run is slower.
        noise: of each time, by stage and for all of them alike, the latter alike in neighbouring frames; heavy-tailed.
        drift, own: standard deviation of what differs from run to run, of all stages alike and of each.
        busy: how much longer everything takes by the clock alone, as a share; comes and goes.
        start: of the first frame.
        cpu: whether processor time was logged.
        stages: their usual milliseconds.
        fields: others of the records.
    """
    content = np.random.default_rng(7)
    faces = content.integers(0, 3, pictures)
    size = {name: content.uniform(0.9, 1.1, pictures) for name in stages}
    shift = machine + drift * rng.standard_normal()
    common = noise * ar(rng, frames, 0.9)
    names = list(stages)
    log = np.empty((frames, len(names)))
    for column, name in enumerate(names):
        tail = rng.standard_t(3, frames) * noise
        log[:, column] = shift + own * rng.standard_normal() + common + tail + noise * ar(rng, frames, 0.8)
        usual = stages[name] * size[name][np.arange(frames) % pictures] * (slower or {}).get(name, 1.0)
        if name in ("align", "embed"):
            usual = usual * faces[np.arange(frames) % pictures] + 0.03
        log[:, column] += np.log(usual)
    times = np.exp(log)
    waits = np.exp(
        busy * (1 + ar(rng, frames, 0.95)).clip(0)[:, None] + 0.01 * np.abs(rng.standard_normal(times.shape))
    )
    common_fields = {
        "source": "a.jpg",
        "width": 640,
        "height": 480,
        "plan": "640x480/1/40/1",
        "predicted_mb": 0.0,
        "measured_mb": 0.0,
        "detector": "yunet",
        "recognizer": "sface",
        "models": {"yunet": "49f000ec" * 8, "sface": "fb143eea" * 8},
        "runtime": "onnxruntime 1.31.1",
        "threads": 2,
        "cpu": "A processor",
        "version": "1.0",
        "run": str(start),
    } | fields
    return [
        Record(
            time=start + timedelta(seconds=0.1 * index),
            frame=f"{index % pictures:016x}",
            faces=int(faces[index % pictures]),
            stages=dict(zip(names, (times[index] * waits[index]).tolist(), strict=True)),
            cpu_ms=dict(zip(names, times[index].tolist(), strict=True)) if cpu else {},
            **common_fields,
        )
        for index in range(frames)
    ]
