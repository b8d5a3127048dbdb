import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peephole.timings.drift import Series, group_medians, medians, row_medians
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


def itself(changes):
    return changes


def series(before, after, **more):
    ones = np.ones_like(before)
    return Series(before, after, ones, ones, fitted=0, **more)


def test_the_change_is_the_difference_of_the_medians():
    found = series(np.array([[1.0], [2.0], [9.0]]), np.array([[5.0], [4.0], [3.0]])).change
    assert found.tolist() == [2.0]


@pytest.mark.parametrize("frames", [200, 2000])
def test_the_variance_holds_the_change_of_two_runs_of_white_noise(rng, frames):
    found = series(*rng.standard_normal((2, frames, 8))).variance(rng, itself)
    least = 2 * np.pi / 2 / frames  # of the difference of two medians
    assert (found > least).all()


def test_blocks_that_differ_widen_it(rng):
    calm = series(*rng.standard_normal((2, 400, 4)))
    waves = np.repeat(rng.standard_normal((2, 10, 4)), 40, axis=1)
    restless = series(*(rng.standard_normal((2, 400, 4)) + 2 * waves))
    assert restless.variance(rng, itself).mean() > 4 * calm.variance(rng, itself).mean()


def test_what_lasts_cancels_where_the_sides_took_turns(rng):
    lasting = np.repeat(3 * rng.standard_normal((10, 1)), 40, axis=0)
    sides = 0.1 * rng.standard_normal((2, 400, 1)) + lasting
    apart, turns = (series(*sides, interleaved=each).variance(rng, itself)[0] for each in (False, True))
    assert turns < apart / 2


def test_it_does_not_take_a_long_spell_for_many_witnesses(rng):
    """The true spread of medians of an autocorrelated series, by making many; the estimate must not be far below."""
    runs = np.array([ar(rng, 200, 0.9) for _ in range(200)])
    truth = 2 * np.median(runs, axis=1).var()
    estimates = [
        series(ar(rng, 200, 0.9)[:, None], ar(rng, 200, 0.9)[:, None]).variance(rng, itself)[0] for _ in range(20)
    ]
    assert np.median(estimates) > truth / 2


def test_the_same_draws_give_the_same(rng):
    pair = series(*rng.standard_normal((2, 100, 3)))
    first, second = (pair.variance(np.random.default_rng(1), itself) for _ in range(2))
    assert (first == second).all()


def test_a_long_log_is_thinned_for_the_bootstrap_alone(rng):
    pair = series(*rng.standard_normal((2, 30_000, 1)))
    assert 0 < pair.variance(rng, itself)[0] < 0.02
