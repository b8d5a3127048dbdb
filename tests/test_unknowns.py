import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peephole.unknowns import SHARE, Groups, Merge

X, Y, Z = np.eye(3, 8, dtype=np.float32)


def near(vector, cosine, other=7):
    """A unit vector at that cosine to another."""
    rest = np.eye(8, dtype=np.float32)[other]
    return (cosine * vector + np.sqrt(1 - cosine**2) * rest).astype(np.float32)


def arrive(embeddings, similarity="cosine", **options):
    """The groups, and the group of each face, numbered as it comes."""
    groups, owner = Groups.of(similarity, **options), []
    for number, vector in enumerate(embeddings):
        found = groups.nearest(vector)
        owner.append(number if found is None else found)
        groups, merges = groups.add(vector, owner[-1]).merges(owner[-1])
        for each in merges:
            owner = [each.into if group == each.absorbed else group for group in owner]
    return groups, owner


def test_faces_that_are_alike_come_together():
    groups, owner = arrive([X, near(X, 0.9), Y, near(X, 0.8, 6), near(Y, 0.7), Z])
    assert owner == [0, 0, 2, 0, 2, 5]
    assert (groups.ids.tolist(), groups.counts.tolist()) == ([0, 2, 5], [3, 2, 1])


def test_the_first_face_and_strangers_begin_a_group():
    assert Groups.of("cosine").nearest(X) is None
    assert Groups.of("cosine", [7], X[None]).nearest(Y) is None


@pytest.mark.parametrize(("similarity", "other", "group"), [
    ("cosine", near(X, 0.51), 4),
    ("cosine", near(X, 0.49), None),
    ("cosine", 9 * near(X, 0.51), 4),  # the direction alone counts
    ("euclidean", X + 0.49 * Y, 4),
    ("euclidean", X + 0.51 * Y, None),
])  # fmt: skip
def test_two_faces_are_one_person_from_the_score_on(similarity, other, group):
    assert Groups.of(similarity, [4], X[None], alike=0.5).nearest(other.astype(np.float32)) == group


def test_of_two_groups_the_nearer_one_and_of_equals_the_smaller_number():
    between = ((X + 0.9 * Y) / np.linalg.norm(X + 0.9 * Y)).astype(np.float32)
    assert Groups.of("cosine", [3, 9], np.stack([Y, X])).nearest(between) == 9
    assert Groups.of("cosine", [9, 3], np.stack([X, X])).nearest(X) == 3


def test_groups_that_have_grown_together_are_merged_under_the_smaller_number():
    # X and a face at 0.4 to it begin two groups; a third between them is near to both
    apart = near(X, 0.4, 1)
    between = ((X + apart) / np.linalg.norm(X + apart)).astype(np.float32)
    groups = Groups.of("cosine", [5, 2], np.stack([X, apart]))
    assert groups.merges()[1] == ()
    found = groups.nearest(between)
    merged, done = groups.add(between, found).merges(found)
    assert done == (Merge(into=2, absorbed=5),)
    assert (merged.ids.tolist(), merged.counts.tolist()) == ([2], [3])


def test_a_large_group_does_not_swallow_who_is_alike_to_its_mean_alone():
    rng = np.random.default_rng(0)
    members = X + rng.normal(scale=0.35, size=(200, 8)).astype(np.float32)
    members /= np.linalg.norm(members, axis=1, keepdims=True)
    groups = Groups.of("cosine", [1] * 200, members)
    stranger = near(X, 0.55, 7)
    assert float(groups.means[0] @ stranger) / np.linalg.norm(groups.means[0]) > groups.alike
    assert groups.nearest(stranger) is None


def test_ignored_groups_take_their_faces_and_merge_with_nobody():
    close = near(X, 0.9)
    groups = Groups.of("cosine", [1, 2], np.stack([X, close]), ignored={1})
    assert groups.nearest(X) == 1  # the caller sees that it is ignored and keeps nothing
    assert groups.merges() == (groups, ())
    assert Groups.of("cosine", [1, 2], np.stack([X, close])).merges()[1] == (Merge(1, 2),)


def test_a_group_that_is_gone_is_no_error():
    groups = Groups.of("cosine", [1], X[None])
    assert groups.merges(touched=8) == (groups, ())


def test_groups_and_embeddings_go_together():
    with pytest.raises(ValueError, match="2 groups for 1"):
        Groups.of("cosine", [1, 2], X[None])


def slow_distance(one, other):
    """Reference: from the members themselves."""
    a, b = np.mean(one, 0), np.mean(other, 0)
    spread = np.mean([((m - a) ** 2).sum() for m in one]) + np.mean([((m - b) ** 2).sum() for m in other])
    return float(((a - b) ** 2).sum() + SHARE * spread)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 5), st.sampled_from(["cosine", "euclidean"]))
def test_distances_are_those_of_the_members(seed, faces, people, similarity):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(faces, 8)).astype(np.float32)
    if similarity == "cosine":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    owner = rng.integers(people, size=faces)
    groups = Groups.of(similarity, owner, vectors)
    face = vectors[0] if faces % 2 else near(X, 0.5)
    wanted = [slow_distance(vectors[owner == group].astype(float), face[None].astype(float)) for group in groups.ids]
    found = groups._distances(face.astype(np.float64), float(face.astype(np.float64) @ face))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.sampled_from(["cosine", "euclidean"]))
def test_as_they_arrive_or_read_back_the_groups_are_the_same(seed, faces, similarity):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(faces, 4)).astype(np.float32) / 3
    grown, owner = arrive(vectors, similarity)
    stored = Groups.of(similarity, owner, vectors)
    assert grown.ids.tolist() == stored.ids.tolist()
    assert grown.counts.tolist() == stored.counts.tolist()
    np.testing.assert_allclose(grown.means, stored.means, atol=1e-6)
    np.testing.assert_allclose(grown.squares, stored.squares, atol=1e-6)
    assert min(owner) == 0  # the first number stays


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_merge_keeps_every_face_and_the_smaller_number(seed):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(20, 3)).astype(np.float32)
    before = Groups.of("cosine", np.arange(20), vectors)
    after, merges = before.merges()
    assert after.counts.sum() == 20
    assert all(each.into < each.absorbed for each in merges)
    assert set(after.ids.tolist()) == set(range(20)) - {each.absorbed for each in merges}
    assert after.merges()[1] == () or len(after) > 1
    assert before.counts.tolist() == [1] * 20  # a value: it did not change


def test_people_well_apart_are_told_apart_in_any_order():
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(30, 64))
    people = np.repeat(np.arange(30), 6)
    vectors = (centres[people] + rng.normal(scale=0.6, size=(180, 64))).astype(np.float32)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(180)
        _, owner = arrive(vectors[order])
        pairs = {(person, group) for person, group in zip(people[order].tolist(), owner, strict=True)}
        assert len(pairs) == len(set(owner)) == 30
