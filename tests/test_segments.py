"""Training segments: what is cut, and that batches are reproducible."""

import warnings

import numpy as np
import pytest
import torch
import vocoder.segments
from recordings import RATE, clip_of, write
from torch.utils.data import DataLoader
from vocoder.data import Clip, load_clip
from vocoder.segments import Segments


@pytest.fixture
def levels(tmp_path) -> list[Clip]:
    """Eight clips, each a constant, (i + 1) / 16: exact in 16 bits, so a segment tells which clip it is from."""
    return [clip_of(write(tmp_path / f"{i}.wav", (i + 1) / 16, seconds=0.2 + 0.01 * i)) for i in range(8)]


@pytest.fixture
def ramps(tmp_path) -> list[Clip]:
    """Five clips of float noise, so that a segment tells its offset too."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.wav" for i in range(5)]
    return [clip_of(write(path, rng.uniform(-1, 1, 2000 + 100 * i), subtype="FLOAT")) for i, path in enumerate(paths)]


def test_batches_are_the_same_from_a_fresh_object_and_after_resuming(ramps):
    first = [batch.clone() for batch in Segments(ramps, RATE, 256, 3, steps=12, seed=7)]
    assert len(first) == 12
    assert all(batch.shape == (3, 256) and batch.dtype == torch.float32 for batch in first)
    resumed = DataLoader(Segments(ramps, RATE, 256, 3, steps=12, seed=7), batch_size=None, sampler=range(5, 12))
    assert torch.equal(torch.stack(list(resumed)), torch.stack(first[5:]))
    assert not torch.equal(Segments(ramps, RATE, 256, 3, steps=12, seed=8)[0], first[0])


def test_segments_are_cut_from_the_clips_at_varied_offsets(ramps):
    loaded = [load_clip(clip, RATE) for clip in ramps]
    segments = Segments(ramps, RATE, 256, 5, steps=20, seed=0)
    starts = []
    for batch in segments:
        for segment in batch:
            places = [(i, k) for i, w in enumerate(loaded) for k in torch.where(w == segment[0])[0].tolist()]
            starts += [k for i, k in places if torch.equal(loaded[i][k : k + 256], segment)]
    assert len(starts) == 100
    assert len(set(starts)) > 90
    assert min(starts) < 200
    assert max(starts) > 1500


def test_every_offset_is_possible_and_none_is_past_the_end(tmp_path):
    clip = clip_of(write(tmp_path / "a.wav", np.arange(1, 1001) / 1024, subtype="FLOAT"))
    starts = {int(batch[0, 0] * 1024) - 1 for batch in Segments([clip], RATE, 997, 1, steps=60, seed=0)}
    assert starts == {0, 1, 2, 3}


def test_an_epoch_over_two_ranks_visits_every_clip_once(levels):
    ranks = [Segments(levels, RATE, 64, 4, steps=6, seed=3, rank=rank, world_size=2) for rank in (0, 1)]
    orders = []
    for epoch in range(3):  # 8 clips = 2 steps of 2 ranks of 2 segments
        batches = [rank[step] for step in (2 * epoch, 2 * epoch + 1) for rank in ranks]
        order = [round(float(value) * 16) for value in torch.cat(batches)[:, 0]]
        assert sorted(order) == list(range(1, 9))
        orders.append(order)
    assert orders[0] != orders[1] != orders[2]


@pytest.mark.parametrize("world_size", [2, 3, 6])
def test_ranks_share_the_batch_of_one_process(ramps, world_size):
    alone = Segments(ramps, RATE, 256, 6, steps=5, seed=4)
    ranks = [Segments(ramps, RATE, 256, 6, 5, 4, rank, world_size) for rank in range(world_size)]
    for step in range(5):
        assert torch.equal(torch.cat([rank[step] for rank in ranks]), alone[step])


def test_epochs_run_on_across_batches_of_any_size(levels):
    flat = torch.cat(list(Segments(levels, RATE, 64, 3, steps=8, seed=1)))[:, 0]
    order = [round(float(value) * 16) for value in flat]
    assert [sorted(order[k : k + 8]) for k in (0, 8, 16)] == [list(range(1, 9))] * 3
    one = Segments(levels[:1], RATE, 64, 5, steps=1, seed=1)[0]
    assert torch.equal(one, torch.full((5, 64), 1 / 16))


def test_short_clips_are_zero_padded_at_the_end(tmp_path):
    clip = clip_of(write(tmp_path / "a.wav", 0.5, seconds=0.125))
    batch = Segments([clip], RATE, 1500, 2, steps=1, seed=0)[0]
    assert torch.equal(batch[:, :1000], torch.full((2, 1000), 0.5))
    assert torch.equal(batch[:, 1000:], torch.zeros(2, 500))


def test_segments_come_at_the_asked_sample_rate(tmp_path):
    clip = clip_of(write(tmp_path / "a.wav", 0.5, seconds=0.125))
    batch = Segments([clip], 2 * RATE, 2500, 1, steps=1, seed=0)[0]
    assert torch.all(batch[:, :2000] != 0)
    assert torch.equal(batch[:, 2000:], torch.zeros(1, 500))


@pytest.mark.parametrize("cache_bytes", [0, 20000, 2**31])
def test_cache_changes_no_batch_and_keeps_its_limit(ramps, monkeypatch, cache_bytes):
    reads = []
    decode = vocoder.segments.decode_clip
    monkeypatch.setattr("vocoder.segments.decode_clip", lambda clip, rate: reads.append(clip) or decode(clip, rate))
    segments = Segments(ramps, RATE, 256, 5, steps=8, seed=2, cache_bytes=cache_bytes)
    cold = torch.stack(list(segments))
    assert len(set(reads)) == 5
    read_cold = len(reads)
    assert torch.equal(torch.stack(list(segments)), cold)
    # the clips are 8000 to 9600 bytes of float32: two fit into 20000
    kept = {0: 0, 20000: 2, 2**31: 5}[cache_bytes]
    assert read_cold == kept + 8 * (5 - kept)
    assert len(reads) - read_cold == 8 * (5 - kept)
    reference = Segments(ramps, RATE, 256, 5, steps=8, seed=2)
    assert torch.equal(cold[6], reference[6])


def test_workers_change_no_batch(ramps):
    def batches(workers: int) -> torch.Tensor:
        segments = Segments(ramps, RATE, 256, 3, steps=9, seed=7)
        return torch.stack(list(DataLoader(segments, batch_size=None, num_workers=workers, sampler=range(2, 9))))

    alone = batches(0)
    assert alone.shape == (7, 3, 256)
    assert torch.equal(batches(2), alone)


def test_corrupted_clip_is_replaced_by_the_next_and_warned_about_once(levels):
    good = torch.stack(list(Segments(levels, RATE, 64, 4, steps=6, seed=5)))
    levels[7].path.write_text("no longer audio")
    segments = Segments(levels, RATE, 64, 4, steps=6, seed=5, cache_bytes=0)
    with pytest.warns(UserWarning, match=r"7\.wav cannot be decoded") as caught:
        bad = torch.stack(list(segments))
    assert len(caught) == 1
    # the clip after the last is the first
    assert torch.equal(bad, torch.where(good == 8 / 16, torch.tensor(1 / 16), good))
    assert int((good[..., 0] == 8 / 16).sum()) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(torch.stack(list(segments)), bad)


def test_all_clips_unreadable_is_an_error(levels):
    for clip in levels:
        clip.path.write_text("no longer audio")
    segments = Segments(levels, RATE, 64, 4, steps=6, seed=5)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match=r"none of the 8 clips can be decoded.*0\.wav"):  # noqa: PT030
        segments[0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"clips": []}, r"len\(clips\) must be at least 1, got 0"),
        ({"sample_rate": 0}, "sample_rate must be at least 1, got 0"),
        ({"segment_size": 0}, "segment_size must be at least 1, got 0"),
        ({"batch_size": -1}, "batch_size must be at least 1, got -1"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"cache_bytes": -1}, "cache_bytes must not be negative, got -1"),
        ({"rank": 1}, "rank must be from 0 to world_size - 1 = 0, got 1"),
        ({"world_size": 0}, "world_size must be at least 1, got 0"),
        ({"world_size": 2}, "batch_size must be a multiple of world_size = 2, got 1"),
    ],
)
def test_arguments_out_of_range_are_named(ramps, changed, message):
    arguments = {"clips": ramps, "sample_rate": RATE, "segment_size": 8, "batch_size": 1, "steps": 1, "seed": 0}
    with pytest.raises(ValueError, match=message):
        Segments(**{**arguments, **changed})


def test_steps_beyond_the_end_are_index_errors(ramps):
    segments = Segments(ramps, RATE, 8, 1, steps=3, seed=0)
    assert len(segments) == 3
    for step in (3, -1):
        with pytest.raises(IndexError, match=f"step must be from 0 to steps - 1 = 2, got {step}"):
            segments[step]
