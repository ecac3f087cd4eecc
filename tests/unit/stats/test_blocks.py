"""The recent past in blocks: what it is now, since when, and that it stays small."""

import json

import numpy as np
import pytest
from leadline_stats import blocks


def bits(rate: float, length: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(length) < rate).astype(float)


@pytest.mark.parametrize("size", [1, 7, 100, 101, 250, 3_000])
def test_blocks_in_parts_and_through_json_are_the_same_in_every_bit(size):
    losses = np.random.default_rng(0).random(1_234)
    parts = blocks.EMPTY
    for start in range(0, 1_234, size):
        parts = blocks.fold(parts, losses[start : start + size])
        parts = blocks.from_plain(json.loads(json.dumps(blocks.to_plain(parts))))
    assert parts == blocks.fold(blocks.EMPTY, losses)
    assert len(parts.sums) == 12
    assert sum(parts.sums) + parts.open == pytest.approx(losses.sum())


def test_recent_mean_is_of_the_last_full_blocks_and_what_came_since():
    losses = np.concatenate([bits(0.05, 900), bits(0.4, 250, seed=1)])
    folded = blocks.fold(blocks.EMPTY, losses)
    assert blocks.recent(folded, 2) == pytest.approx(losses[900:].mean())
    assert blocks.recent(folded, 0) == pytest.approx(losses[1_100:].mean())
    assert blocks.recent(folded, 99) == pytest.approx(losses.mean())
    assert blocks.recent(blocks.EMPTY, 3) is None


def test_since_is_the_block_in_which_the_decay_began():
    folded = blocks.fold(blocks.EMPTY, np.concatenate([bits(0.05, 8_400), bits(0.2, 1_050, seed=1)]))
    assert blocks.since(folded, 0.07) == 8_400


def test_since_is_the_beginning_when_it_was_bad_from_the_start():
    assert blocks.since(blocks.fold(blocks.EMPTY, bits(0.3, 950)), 0.07) == 0
    assert blocks.since(blocks.fold(blocks.EMPTY, np.ones(20)), 0.07) == 0


def test_since_is_now_when_nothing_recent_is_above_the_limit():
    assert blocks.since(blocks.fold(blocks.EMPTY, np.zeros(950)), 0.07) == 950
    assert blocks.since(blocks.EMPTY, 0.07) == 0


def test_past_is_forgotten_after_sixty_blocks():
    folded = blocks.fold(blocks.EMPTY, np.concatenate([np.ones(5_000), np.zeros(6_000)]))
    assert (folded.outcomes, folded.sums) == (11_000, (0.0,) * blocks.KEPT)
    assert blocks.since(blocks.fold(folded, np.ones(100)), 0.07) == 11_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 3}, "version: expected 1, got 3"),
        ({"outcomes": 350}, "sums: expected a list of 3 to 3 hexadecimal floats"),
        ({"open": 1.0}, "open: expected a hexadecimal float, got 1.0"),
    ],
)
def test_stored_blocks_are_refused_when_a_field_is_impossible(change, message):
    record = blocks.to_plain(blocks.fold(blocks.EMPTY, np.ones(250)))
    with pytest.raises(ValueError, match=message):
        blocks.from_plain(record | change)
