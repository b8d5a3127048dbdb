"""YuNet in strips against all at once, against the file's own network, and against OpenCV on the same file."""

import itertools
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from peephole.buffers import Buffers
from peephole.detectors import open_detector, profile, yunet
from peephole.detectors.yunet import PROFILE, Yunet, _Said, _Source
from peephole.errors import ModelDamaged, ModelError, ModelNotFound, UsageError
from peephole.frame import Frame
from peephole.geometry import overlaps, suppress
from peephole.models import folded, store
from peephole.models.session import Runtime
from peephole.pipeline import Pipeline, Scale, _native, _suppressed
from peephole.planner import WHOLE, Plan, Tiling, plan, suited
from peephole.timings import StageClock
from scenes import Picture, grained
from scenes import scene as any_scene

TILINGS = PROFILE.streaming.tilings
scene = partial(any_scene, sides=(60, 400))


@pytest.fixture(scope="module")
def detector() -> Yunet:
    return Yunet()


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline("yunet")


def enlarged(frame: Frame, times: float) -> Frame:
    size = [round(side * times) for side in frame.size]
    return Frame(np.asarray(Image.fromarray(frame.pixels).resize(size, Image.Resampling.BICUBIC)))


def maps(detector: Yunet, source: _Source, tiling: Tiling) -> dict[int, NDArray[np.float32]]:
    """The heads' logits by stride, put together; every cell must be said once."""
    width, height = source.size
    whole = {stride: np.full((16, height // stride, width // stride), np.nan, np.float32) for stride in (8, 16, 32)}
    for said in detector._look(source, tiling, Buffers(), StageClock()):
        _, rows, columns = said.logits.shape
        part = whole[said.stride][:, said.row : said.row + rows, said.column : said.column + columns]
        assert part.shape == said.logits.shape
        assert np.isnan(part).all()
        part[:] = said.logits
    assert not any(np.isnan(each).any() for each in whole.values())
    return whole


# -- streamed and at once ---------------------------------------------------------------------------------------


def assert_streamed_alike(
    detector: Yunet, picture: Picture, tilings: tuple[Tiling, ...], grain: float = 0.08, **options
) -> None:
    chosen = suited(plan((picture.shape[1], picture.shape[0]), PROFILE, tiling=WHOLE, **options), PROFILE, grain)
    source = _Source(picture, chosen.base)
    whole = maps(detector, source, WHOLE)
    quarter = source.quarter.copy()
    faces = list(detector.scan(picture, chosen, 0.3))
    for tiling in tilings:
        source.quarter[:] = 0
        streamed = maps(detector, source, tiling)
        for stride, logits in whole.items():
            assert np.abs(streamed[stride] - logits).max() <= 1e-4, (tiling, stride)
        assert np.array_equal(source.quarter, quarter), tiling
        found = list(detector.scan(picture, replace(chosen, tiling=tiling), 0.3))
        for one, other in zip(faces, found, strict=True):
            assert one.level == other.level
            ours, theirs = (np.column_stack([each[1], each[2], each[3].reshape(-1, 10)]) for each in (one, other))
            assert ours.shape == theirs.shape, tiling
            if len(ours):  # the parts come in another order
                apart = np.abs(ours[:, None] - theirs).max(2)
                assert max(apart.min(0).max(), apart.min(1).max()) <= 1e-2, tiling


scales = st.sampled_from([{}, {"max_side": 150}, {"max_side": 333}, {"min_face": 31.7}, {"upsample": 1}])


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(
    st.tuples(st.integers(1, 700), st.integers(1, 700)),
    st.builds(Tiling, st.integers(1, 50), st.integers(1, 60), st.integers(4, 90)),
    scales,
    st.sampled_from([0.0, 0.02, 0.04, 0.08, 0.2]),
    st.integers(0, 1000),
)
def test_any_frame_in_any_strips(detector, head, size, tiling, options, grain, seed):
    assert_streamed_alike(detector, scene(head, size, seed=seed), (tiling,), grain, **options)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((640, 480), {}),
        ((641, 479), {}),
        ((210, 290), {"upsample": 1}),
        ((900, 1000), {"max_side": 720}),
        ((2000, 9), {}),
        ((3, 1500), {}),
        ((1, 1), {}),
        ((700, 800), {"max_face": 120}),
    ],
)
def test_the_tilings_in_use(detector, head, size, options):
    assert_streamed_alike(detector, scene(head, size), TILINGS, **options)


def test_there_are_faces_to_compare(detector, head):
    picture = scene(head, (700, 800))
    chosen = plan((700, 800), PROFILE, tiling=TILINGS[-1])
    assert len(chosen.levels) == 4
    found = [len(each.boxes) for each in detector.scan(picture, chosen, 0.3)]
    assert all(count >= 3 for count in found[:3])


def test_the_quarter_is_the_mean_of_four_by_four_pixels(detector, rng):
    picture = rng.integers(0, 256, (96, 64, 3), np.uint8)
    source = _Source(picture, (64, 96))
    maps(detector, source, TILINGS[-1])
    means = picture.reshape(24, 4, 16, 4, 3).astype(float).mean((1, 3))
    assert np.array_equal(source.quarter, np.floor(means + 0.5))


def test_a_frame_is_not_written_to(detector, head):
    picture = scene(head, (300, 200)).copy()
    before = picture.copy()
    picture.flags.writeable = False
    list(detector.scan(picture, plan((300, 200), PROFILE, tiling=TILINGS[-1]), 0.0))
    assert np.array_equal(picture, before)


# -- against the file's own network and OpenCV ------------------------------------------------------------------


def test_the_three_graphs_say_what_the_files_network_says(detector, head):
    """The file takes 640x640 BGR at once and gives probabilities, row by row."""
    import onnxruntime as ort

    picture = scene(head, (640, 640))
    network = ort.InferenceSession(folded.read(store.locate(store.YUNET).read_bytes()).SerializeToString())
    names = [each.name for each in network.get_outputs()]
    planes = picture[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32)
    theirs = dict(zip(names, network.run(None, {network.get_inputs()[0].name: planes}), strict=True))
    for stride, logits in maps(detector, _Source(picture, (640, 640)), TILINGS[0]).items():
        rows = logits.reshape(16, -1).T
        scores = 1 / (1 + np.exp(-rows[:, :2].astype(float)))
        ours = {"cls": scores[:, :1], "obj": scores[:, 1:], "bbox": rows[:, 2:6], "kps": rows[:, 6:]}
        for kind, each in ours.items():
            np.testing.assert_allclose(each, theirs[f"{kind}_{stride}"][0], atol=2e-4, err_msg=f"{kind}_{stride}")


@pytest.mark.parametrize("size", [(512, 512), (500, 375), (333, 641), (640, 64)])
def test_opencv_sees_the_same_on_the_same_file(detector, head, size):
    cv2 = pytest.importorskip("cv2")
    picture = scene(head, size, seed=5)
    theirs = cv2.FaceDetectorYN.create(str(store.locate(store.YUNET)), "", size, 0.3, 0.3, 5000)
    _, found = theirs.detect(np.ascontiguousarray(picture[:, :, ::-1]))
    found = np.empty((0, 15)) if found is None else found.astype(float)
    chosen = plan(size, PROFILE)

    # Before the vote the strongest box of each face is OpenCV's, which compares boxes in whole pixels.
    said = [each.above(0.3) for each in detector._look(_Source(picture, size), chosen.tiling, Buffers(), StageClock())]
    boxes, confidence, landmarks = (np.concatenate(parts) for parts in zip(*said, strict=True))
    kept = suppress(boxes, confidence, 0.3)
    strongest = np.concatenate([boxes[kept], landmarks[kept].reshape(-1, 10), confidence[kept, None]], 1)
    found[:, 2:4] += found[:, :2]
    for row in found[found[:, 14] > 0.5]:
        assert np.abs(strongest - row).max(1).min() < 0.1

    # After it the faces are the same, and nearly where they were; the coarser levels, which OpenCV lacks, left out.
    finest = next(detector.scan(picture, suited(chosen, PROFILE, 0.0), 0.5 * detector.voter))
    ours = _suppressed(*_native([finest]), detector, 0.5)
    clear = found[found[:, 14] > 0.5]
    assert len(ours) == len(clear)
    if len(ours):
        fit = overlaps(ours.boxes, clear[:, :4])
        assert fit.max(1).min() > 0.85
        np.testing.assert_allclose(ours.confidence, clear[fit.argmax(1), 14], atol=1e-3)


@pytest.mark.usefixtures("openvino")
def test_openvino_says_the_same(detector, head):
    other = Yunet(runtime=Runtime("openvino"))
    source = _Source(scene(head, (400, 300)), (400, 300))
    ours, theirs = (maps(each, source, Tiling(32, 24, 32)) for each in (detector, other))
    for stride, logits in ours.items():
        assert np.abs(theirs[stride] - logits).max() <= 1e-3


# -- faces ------------------------------------------------------------------------------------------------------


def test_a_face_with_its_landmarks(pipeline, eileen):
    (face,) = pipeline.analyse(eileen)
    assert face.box == pytest.approx((178, 64, 268, 176), abs=4)
    assert face.confidence > 0.9
    right_eye, left_eye, nose, right_mouth, left_mouth = face.landmarks
    expected = [(202, 104), (245, 105), (222, 127), (203, 145), (241, 146)]
    assert np.abs(np.array([right_eye, left_eye, nose, right_mouth, left_mouth]) - expected).max() < 5


@pytest.mark.parametrize("times", [0.25, 0.5, 2, 5])
def test_faces_from_22_to_450_pixels(pipeline, eileen, times):
    faces = pipeline.analyse(enlarged(eileen, times)).faces
    (native,) = pipeline.analyse(eileen).faces.boxes
    assert len(faces) >= 1
    assert overlaps(faces.boxes[:1] / times, native[None])[0, 0] > 0.8
    assert np.abs(faces.landmarks[0, 0] / times - (203, 104)).max() < 6


def test_a_large_face_needs_the_coarser_level(pipeline, eileen):
    large = Frame(np.ascontiguousarray(enlarged(eileen, 8).pixels[300:1700, 1100:2600]))
    (face,) = (face for face in pipeline.analyse(large) if face.right - face.left > 600)
    assert face.confidence > 0.9
    native = pipeline.analyse(large, scale=Scale(max_face=400))
    assert len(native.plan.levels) == 1
    assert not any(face.right - face.left > 600 for face in native)


def test_landmarks_come_back_in_native_pixels(pipeline, eileen):
    (native,) = pipeline.analyse(eileen).faces.landmarks
    for scale in (Scale(max_side=300), Scale(upsample=1), Scale(min_face=30)):
        (landmarks,) = pipeline.analyse(eileen, scale=scale).faces.landmarks
        assert np.abs(landmarks - native).max() < 5


def test_a_higher_threshold_keeps_the_strongest_faces_where_they_are(pipeline, head):
    picture = Image.fromarray(scene(head, (700, 500)))
    picture.paste(head.resize((42, 42)), (600, 20))  # too small to be certain of
    frame = Frame(np.asarray(picture))
    found = [pipeline.analyse(frame, min_confidence=least).faces for least in (0.05, 0.3, 0.5, 0.8, 0.99)]
    counts = [len(faces) for faces in found]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[3] >= 1
    assert counts[-1] == 0
    for least, faces in zip((0.05, 0.3, 0.5, 0.8, 0.99), found, strict=True):
        assert (faces.confidence > least).all()
        certain = found[3].boxes[found[3].confidence > least]
        np.testing.assert_allclose(faces.boxes[faces.confidence > 0.8], certain, atol=1e-6)


def test_the_default_threshold_is_the_profiles(pipeline, head):
    frame = Frame(scene(head, (700, 500)))
    default, asked = (pipeline.analyse(frame, min_confidence=least).faces for least in (None, 0.8))
    assert PROFILE.default_confidence == 0.8
    assert np.array_equal(default.boxes, asked.boxes)


@pytest.mark.parametrize("size", [(1, 1), (30, 30), (3000, 2), (2, 3000), (640, 480)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_nobody_on_a_blank_frame(pipeline, size, value):
    faces = pipeline.analyse(Frame(np.full((size[1], size[0], 3), value, np.uint8))).faces
    assert faces.boxes.shape == (0, 4)
    assert faces.landmarks.shape == (0, 5, 2)


# -- night and bad weather --------------------------------------------------------------------------------------


def infrared(head: Image.Image, sides: tuple[int, ...], sigma: float, rng: np.random.Generator) -> Picture:
    """Grey heads next to each other on 1200x800, darker than by day, with a camera's grain."""
    frame = Image.new("L", (1200, 800), 90)
    for index, side in enumerate(sides):
        frame.paste(head.convert("L").resize((side, side)), (40 + 560 * index, 150))
    return grained(0.05 + 0.6 * np.asarray(frame) / 255, sigma, rng, smoothed=True)


@pytest.mark.parametrize("sigma", [0.0, 0.02, 0.04, 0.06, 0.08])
def test_grain_hides_no_face_that_a_coarser_level_shows(pipeline, head, rng, sigma):
    sides = (260, 500)
    found = pipeline.analyse(infrared(head, sides, sigma, rng))
    assert found.plan.grain == pytest.approx(sigma, rel=0.15, abs=0.006)
    truth = np.array([[97, 65, 197, 170]]) * np.array(sides)[:, None] / 260 + [[40, 150] * 2, [600, 150] * 2]
    assert len(found) == 2
    assert overlaps(found.faces.boxes, truth).max(0).min() > 0.6
    if sigma >= 0.06:  # too much for the finest level as it is
        finest = pipeline.plan((1200, 800))
        finest = replace(finest, levels=finest.levels[:1])
        picture = infrared(head, sides, sigma, rng)
        assert len(next(pipeline.detector.scan(picture, finest, 0.8)).boxes) == 0


def weather(kind: str, rng: np.random.Generator) -> Picture:
    """900x700, nobody there."""
    y, x = np.mgrid[:700, :900]
    flat = np.full((700, 900), 0.5)
    if kind == "noise":
        return rng.integers(0, 256, (700, 900, 3), np.uint8)
    if kind == "salt and pepper":
        return (
            (np.choose(rng.choice(3, flat.shape, p=[0.9, 0.05, 0.05]), [flat, 0.0, 1.0]) * 255)
            .astype(np.uint8)[:, :, None]
            .repeat(3, 2)
        )
    values = {
        "black": 0.0 * flat,
        "white": 2.0 * flat,
        "stripes": 0.2 + 0.6 * (x // 5 % 2),
        "checks": 0.2 + 0.6 * ((x + y) % 2),
        "half black": flat * (x > 450),
        "spider": flat * (np.hypot(x - 400, y - 300) > 180) * (np.abs(np.sin(np.arctan2(y - 300, x - 400) * 4)) > 0.1),
    }
    if kind == "rain":
        drops = rng.random((700, 900)) < 0.002
        values[kind] = np.clip(flat + 0.4 * sum(np.roll(drops, step, 0) for step in range(25)), 0, 1)
    return grained(values[kind], 0.0 if kind in ("black", "white") else 0.05, rng)


WEATHERS = ["noise", "salt and pepper", "black", "white", "stripes", "checks", "half black", "spider", "rain"]


@pytest.mark.parametrize("kind", WEATHERS)
def test_nobody_in_bad_weather_and_not_much_more_work(pipeline, rng, kind):
    found = pipeline.analyse(weather(kind, rng))
    assert len(found) == 0
    clean = suited(pipeline.plan((900, 700)), PROFILE, 0.0)
    assert found.plan.operations <= 1.3 * clean.operations
    assert found.plan.bytes <= pipeline.plan((900, 700)).bytes


# -- decoding by hand --------------------------------------------------------------------------------


def said(score: float, box: tuple[float, ...] = (0.5, 0.25, 0.0, math.log(2))) -> _Said:
    """One cell, the third of the second row from the first at (4, 6), both probabilities ``score``."""
    logits = np.full((16, 2, 3), -20.0, np.float32)
    logits[:2, 1, 2] = math.log(score / (1 - score)) if 0 < score < 1 else math.copysign(90, score - 0.5)
    logits[2:6, 1, 2] = box
    logits[6:, 1, 2] = range(10)
    return _Said(16, 4, 6, logits)


def test_a_cell_by_hand():
    boxes, confidence, landmarks = said(0.7).above(0.6)
    # Cell (8, 5); its box's middle at (8.5, 5.25) cells, one cell wide and two high.
    np.testing.assert_allclose(boxes, [[128.0, 68.0, 144.0, 100.0]], atol=1e-4)
    np.testing.assert_allclose(confidence, [0.7], atol=1e-6)
    np.testing.assert_allclose(landmarks[0], [[128, 96], [160, 128], [192, 160], [224, 192], [256, 224]])


def test_confidence_is_the_geometric_mean():
    one = said(0.9)
    one.logits[1, 1, 2] = math.log(0.4 / 0.6)
    _, confidence, _ = one.above(0.5)
    assert confidence == pytest.approx([0.6])
    assert len(one.above(0.6001)[0]) == 0


@pytest.mark.parametrize(("least", "count"), [(-1.0, 6), (0.0, 6), (0.69, 1), (0.71, 0), (1.0, 0), (2.0, 0)])
def test_any_threshold(least, count):
    boxes, confidence, landmarks = said(0.7).above(least)
    assert (len(boxes), len(confidence), len(landmarks)) == (count, count, count)


def test_certain_cells_do_not_overflow():
    for score in (0.0, 1.0):
        boxes, confidence, _ = said(score, (0, 0, 300, -300)).above(-1.0)
        assert np.isfinite(boxes).all()
        assert np.isfinite(confidence).all()
        assert confidence.max() == pytest.approx(score, abs=1e-8)


# -- files ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published() -> bytes:
    return store.locate(store.YUNET).read_bytes()


def test_a_file_of_ones_own(published, tmp_path, eileen, pipeline):
    file = tmp_path / "mine.onnx"
    file.write_bytes(published)
    own = Pipeline(f"yunet:{file}")
    assert own.analyse(eileen).faces.boxes == pytest.approx(pipeline.analyse(eileen).faces.boxes)
    assert own.detector.models["yunet"] == store.YUNET.sha256
    assert profile(f"yunet:{file}") is PROFILE


def test_a_file_with_weights_in_full(published, tmp_path, detector, head):
    file = tmp_path / "float.onnx"
    file.write_bytes(folded.read(published).SerializeToString())
    assert file.stat().st_size > 1.9 * len(published)
    source = _Source(scene(head, (200, 100)), (200, 100))
    ours, theirs = (maps(each, source, TILINGS[0]) for each in (detector, Yunet(file)))
    assert all(np.array_equal(ours[stride], theirs[stride]) for stride in ours)


def test_files_that_are_no_yunet(tmp_path):
    missing = tmp_path / "missing.onnx"
    with pytest.raises(ModelNotFound, match=r"yunet: there is no file .*missing\.onnx"):
        open_detector(f"yunet:{missing}")
    text = tmp_path / "text.onnx"
    text.write_bytes(b"hello")
    with pytest.raises(ModelDamaged, match=r"text\.onnx: this is no ONNX file"):
        open_detector(f"yunet:{text}")
    with pytest.raises(ModelError):
        open_detector(f"yunet:{tmp_path}")
    recognizer = store.locate(store.SFACE)
    with pytest.raises(ModelDamaged, match="no YuNet: it has no output 'cls_8'"):
        open_detector(f"yunet:{recognizer}")


def test_a_path_must_follow_the_colon():
    for name in ("yunet:", "yunets", "mmod:x.onnx"):
        with pytest.raises(UsageError, match="choose one of mmod, yunet, "):
            profile(name)


def test_models_in_use_are_named(detector):
    assert set(detector.models) == {"yunet", "yunet-stem", "yunet-neck", "yunet-head"}
    assert detector.models["yunet"] == store.YUNET.sha256


def test_the_operations_are_those_of_the_convolutions(published):
    """Counted from the file: multiply-adds of each convolution, twice, for a pixel of its input."""
    model = folded.read(published)
    shapes = {each.name: tuple(each.dims) for each in model.graph.initializer}
    strides: dict[str, int] = {model.graph.input[0].name: 1}
    counted = 0.0
    for node in model.graph.node:
        attributes = {each.name: list(each.ints) or each.i for each in node.attribute}
        stride = min(strides[each] for each in node.input if each in strides)
        if node.op_type == "Resize":
            stride /= 2
        stride *= (attributes.get("strides") or [1])[0]
        strides.update(dict.fromkeys(node.output, stride))
        if node.op_type == "Conv":
            counted += 2 * math.prod(shapes[node.input[1]]) / stride**2
    assert PROFILE.operations_per_pixel == pytest.approx(counted)


def test_a_field_of_zeros_shows_how_far_a_cell_sees(detector):
    """The halos are what the network needs: a pixel beyond them changes nothing, one at their edge does."""
    picture = np.full((640, 640, 3), 100, np.uint8)
    before = maps(detector, _Source(picture, (640, 640)), WHOLE)
    changed = picture.copy()
    changed[320, 320] = 255
    after = maps(detector, _Source(changed, (640, 640)), WHOLE)
    reach = PROFILE.receptive_field / 2 + 32
    for stride, logits in before.items():
        rows, columns = np.nonzero(np.abs(after[stride] - logits).max(0))
        assert len(rows)
        assert max(np.abs(rows * stride - 320).max(), np.abs(columns * stride - 320).max()) <= reach


def test_plans_are_compared_by_value():
    one, other = (plan((3072, 3072), PROFILE, tiling=each) for each in (WHOLE, TILINGS[0]))
    assert isinstance(one, Plan)
    assert replace(one, tiling=WHOLE, bytes=0.0) == replace(other, tiling=WHOLE, bytes=0.0)
    taken = [plan((4000, 3000), PROFILE, tiling=tiling).bytes for tiling in TILINGS]
    assert all(one > other for one, other in itertools.pairwise(taken))


def test_the_path_may_be_a_path(tmp_path: Path):
    with pytest.raises(ModelNotFound):
        yunet.Yunet(tmp_path / "nothing.onnx")
