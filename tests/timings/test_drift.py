import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peephole.timings.drift import RIDGE, Series, _block_medians, _within, group_medians, medians, row_medians
from simulated import ar


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 4)), min_size=1, max_size=30))
def test_a_weighted_median_is_the_median_of_values_that_are_there_so_often(pairs):
    if not any(times for _, times in pairs):
        pairs.append((0, 1))
    values, times = (np.array(each, float) for each in zip(*pairs, strict=True))
    expected = np.median(np.repeat(values, times.astype(int)))
    assert row_medians(values[None], times)[0] == expected
    assert medians(values[:, None], times[:, None])[0] == expected


def test_medians_by_group():
    values = np.array([[1.0, 5.0], [9.0, 0.0], [3.0, 7.0], [2.0, 6.0]])
    found = group_medians(values, np.array([1, 0, 1, 1]), 2)
    assert found.tolist() == [[9.0, 0.0], [2.0, 6.0]]


def series(before, after, **more):
    counts = {f"counts_{side}": np.ones_like(each) for side, each in (("before", before), ("after", after))}
    there = {f"there_{side}": np.ones(each.shape, bool) for side, each in (("before", before), ("after", after))}
    return Series(before, after, **{**counts, **there, "fitted": 0, **more})


def test_the_change_is_the_difference_of_the_medians():
    found = series(np.array([[1.0], [2.0], [9.0]]), np.array([[5.0], [4.0], [3.0]])).change
    assert found.tolist() == [2.0]


@pytest.mark.parametrize("frames", [200, 2000])
def test_the_variance_holds_the_change_of_two_runs_of_white_noise(rng, frames):
    found = series(*rng.standard_normal((2, frames, 8))).variance(rng)
    least = 2 * np.pi / 2 / frames  # of the difference of two medians
    assert (found > least).all()


def test_blocks_that_differ_widen_it(rng):
    calm = series(*rng.standard_normal((2, 400, 4)))
    waves = np.repeat(rng.standard_normal((2, 10, 4)), 40, axis=1)
    restless = series(*(rng.standard_normal((2, 400, 4)) + 2 * waves))
    assert restless.variance(rng).mean() > 4 * calm.variance(rng).mean()


def test_what_lasts_cancels_where_the_sides_took_turns(rng):
    lasting = np.repeat(3 * rng.standard_normal((10, 1)), 40, axis=0)
    sides = 0.1 * rng.standard_normal((2, 400, 1)) + lasting
    apart, turns = (series(*sides, interleaved=each).variance(rng)[0] for each in (False, True))
    assert turns < apart / 2


def test_it_does_not_take_a_long_spell_for_many_witnesses(rng):
    """The true spread of medians of an autocorrelated series, by making many; the estimate must not be far below."""
    runs = np.array([ar(rng, 200, 0.9) for _ in range(200)])
    truth = 2 * np.median(runs, axis=1).var()
    estimates = [series(ar(rng, 200, 0.9)[:, None], ar(rng, 200, 0.9)[:, None]).variance(rng)[0] for _ in range(20)]
    assert np.median(estimates) > truth / 2


def test_the_same_draws_give_the_same(rng):
    pair = series(*rng.standard_normal((2, 100, 3)))
    first, second = (pair.variance(np.random.default_rng(1)) for _ in range(2))
    assert (first == second).all()


def test_a_long_log_is_thinned_for_the_bootstrap_alone(rng):
    pair = series(*rng.standard_normal((2, 30_000, 1)))
    assert 0 < pair.variance(rng)[0] < 0.02


# -- beside the others ------------------------------------------------------------------------------------------


def drifting(rng, frames, weights):
    """Frames of stages that drift together, by so much each, with some noise of their own."""
    return ar(rng, frames, 0.95)[:, None] * np.array(weights) + 0.02 * rng.standard_normal((frames, len(weights)))


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_shares_of_a_mixture_are_shares_and_no_other_stage_alone_is_nearer(seed, others):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((400, others + 1)) @ rng.standard_normal((others + 1, others + 1))
    pair = series(values[:200], values[200:])
    shares = pair.likeness([range(1, others + 1), *([()] * others)])
    assert (shares[0] >= 0).all()
    assert shares[0].sum() == pytest.approx(1)
    assert shares[0, 0] == 0
    assert not shares[1:].any()

    def rest(mixture):
        """What the blocks' medians of the stage vary by beside it; and what is added against chance."""
        blocks = np.concatenate([_within(_block_medians(*side)) for side in pair.sides])
        added = RIDGE * (mixture[1:] ** 2) @ (blocks[:, 1:] ** 2).sum(axis=0)
        return ((blocks[:, 0] - blocks @ mixture) ** 2).sum() + added

    alone = np.eye(others + 1)[1:]
    assert all(rest(shares[0]) <= rest(each) * (1 + 1e-6) for each in alone)


def test_the_mixture_follows_the_stage_that_drifts_alike(rng):
    values = np.concatenate([drifting(rng, 400, [1.0, 1.0]), drifting(rng, 400, [0.3, 0.3])], axis=1)
    shares = series(values[:200], values[200:]).likeness([[1, 2, 3], [], [], []])[0]
    assert shares[1] > 0.9


def test_what_the_others_have_in_common_is_gone(rng):
    before, after = drifting(rng, 200, [0.3, 0.3, 0.3]), drifting(rng, 200, [0.3, 0.3, 0.3]) + 0.4
    after[:, 0] += 0.1
    pair = series(before, after)
    beside = pair.beside(pair.likeness([[1, 2], [2], [1]]))
    assert beside.change == pytest.approx([0.1, 0, 0], abs=0.01)
    assert (beside.variance(rng) < pair.variance(rng) / 10).all()


def test_a_frame_that_lacks_a_stage_has_the_rest_of_the_mixture(rng):
    values = np.array([[5.0, 1.0, 3.0], [5.0, 0.0, 3.0], [5.0, 0.0, 0.0]])
    there = np.array([[True, True, True], [True, False, True], [True, False, False]])
    pair = series(values, values, there_before=there)
    mixtures = np.array([[0.0, 0.5, 0.5], [0.0] * 3, [0.0] * 3])
    assert pair.beside(mixtures).before[:, 0].tolist() == [3.0, 2.0, 5.0]
    assert pair.beside(mixtures).before[:, 1:].tolist() == values[:, 1:].tolist()
