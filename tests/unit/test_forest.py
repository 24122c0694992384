"""The tree scorer's plan, worked by hand on small token lists."""

import random

import pytest

from evalkit.backends.forest import plan_pairs
from evalkit.backends.rows import Pair, lay_out, shared, tree_size


def run(start, length, shift=0):
    return [shift + token for token in range(start, start + length)]


def test_shared_counts_equal_leading_tokens():
    assert [shared((1, 2, 3), (1, 2, 4)), shared((1,), (1, 2)), shared((), (1,)), shared((2,), (1,))] == [2, 1, 0, 0]


def test_a_tree_counts_what_paths_share_once():
    assert tree_size([(1, 2, 3), (1, 2, 4), (1, 2), (9,)]) == 5


def test_a_line_holds_each_shared_token_once_and_reads_where_the_next_token_is_predicted():
    line = lay_out([Pair((1, 2), (3, 4)), Pair((1, 2), (5, 6, 7)), Pair((1, 2), (8,))], 0)
    assert line.tokens == [1, 2, 3, 5, 6]
    assert line.depths == [0, 1, 2, 2, 3]
    assert line.parents == [-1, 0, 1, 1, 3]
    assert line.reads == [(1, 2), (1, 3, 4), (1,)]


def test_a_line_on_a_trunk_begins_at_the_trunks_depth():
    line = lay_out([Pair((1, 2, 3), (4, 5))], 2)
    assert (line.tokens, line.depths, line.parents, line.reads) == ([3, 4], [2, 3], [-1, 0], [(0, 1)])


def test_small_groups_share_a_pass_and_every_pair_stands_in_one_batch():
    pairs = [(run(10 * q, 9), [choice, 1]) for q in range(40) for choice in (5, 6, 7, 8)]
    plan = plan_pairs(pairs, 1024)
    assert len(plan.batches) == 1
    assert plan.batches[0].indices == tuple(range(160))
    assert plan.batches[0].trunk == ()
    assert all(len(line) <= 128 for block in plan.batches[0].blocks for line in block)


def test_a_long_common_beginning_becomes_a_trunk_that_ends_before_the_first_read():
    pairs = [(run(0, 300), [choice]) for choice in (1, 2)] + [([*run(0, 300), q], [1]) for q in range(20)]
    plan = plan_pairs(pairs, 512)
    assert {batch.trunk for batch in plan.batches} == {(tuple(run(0, 299)),)}


def test_trunks_nest():
    root = run(0, 400)
    pairs = [([*root, *run(1000 * s, 300), q, 7], [1, 2]) for s in (1, 2) for q in range(30)]
    plan = plan_pairs(pairs, 256)
    segments = {batch.trunk for batch in plan.batches}
    assert segments == {(tuple(root), tuple(run(1000 * s, 300))) for s in (1, 2)}


def test_a_group_with_a_long_beginning_of_its_own_gets_its_own_trunk():
    pairs = [(run(3000 * q, 2000), [choice, 4]) for q in range(3) for choice in (1, 2)]
    plan = plan_pairs(pairs, 1024)
    assert [batch.indices for batch in plan.batches] == [(0, 1), (2, 3), (4, 5)]
    assert [sum(map(len, batch.trunk)) for batch in plan.batches] == [1999] * 3


def test_a_group_larger_than_the_budget_is_split_into_passes_of_one_batch():
    pairs = [(run(0, 20), run(100 * choice, 40)) for choice in range(1, 30)]
    (batch,) = plan_pairs(pairs, 256, groups=[0] * 29).batches
    assert len(batch.blocks) > 1
    assert batch.indices == tuple(range(29))


def test_a_short_common_beginning_is_repeated():
    pairs = [([1, 2, 3, *run(100 * q, 150)], [5]) for q in range(1, 9)]
    assert {batch.trunk for batch in plan_pairs(pairs, 512).batches} == {()}


@pytest.mark.parametrize("seed", range(8))
def test_any_plan_answers_every_pair_once_keeps_groups_together_and_respects_the_budget(seed):
    rng = random.Random(seed)
    stems = [[rng.randrange(50) for _ in range(rng.choice([3, 80, 300]))] for _ in range(4)]
    pairs, groups = [], []
    for group in range(40):
        context = rng.choice(stems) + [rng.randrange(50) for _ in range(rng.choice([1, 9, 700]))]
        for _ in range(rng.choice([1, 4])):
            pairs.append((context, [rng.randrange(50) for _ in range(rng.randrange(1, 9))]))
            groups.append(group)
    plan = plan_pairs(pairs, 256, groups)
    assert sorted(i for batch in plan.batches for i in batch.indices) == list(range(len(pairs)))
    homes = [{groups[i] for i in batch.indices} for batch in plan.batches]
    assert sum(map(len, homes)) == 40
    for batch in plan.batches:
        start = sum(map(len, batch.trunk))
        assert sorted(p for block in batch.blocks for line in block for p in line) == list(range(len(batch.pairs)))
        for block in batch.blocks:
            lines = [lay_out([batch.pairs[p] for p in line], start) for line in block]
            assert len(lines) <= batch.slots
            assert max(len(line.tokens) for line in lines) <= batch.width
            assert len(lines) * max(len(line.tokens) for line in lines) <= 256 or len(lines) == 1
        for pair in batch.pairs:
            assert start < len(pair.context)
            assert pair.path[:start] == tuple(token for segment in batch.trunk for token in segment)


def test_a_pass_is_as_wide_as_what_is_left_fills_it():
    pairs = [([1000 + i, *range(70)], [1, 2]) for i in range(40)]
    plan = plan_pairs(pairs, 512)
    lines = [lay_out([b.pairs[p] for p in line], 0) for b in plan.batches for block in b.blocks for line in block]
    assert {len(line.tokens) for line in lines} == {72}


def test_the_plan_and_its_digest_depend_on_pairs_budget_and_groups_alone():
    pairs = [(run(10 * q, 9), [choice]) for q in range(9) for choice in (5, 6)]
    plan = plan_pairs(pairs, 256)
    assert plan == plan_pairs(pairs, 256)
    assert plan.digest == plan_pairs(pairs, 256).digest
    assert plan.digest != plan_pairs(pairs, 512).digest
    assert plan.digest != plan_pairs(pairs[::-1], 256).digest


def test_no_pairs_make_an_empty_plan():
    assert plan_pairs([], 256).batches == ()
