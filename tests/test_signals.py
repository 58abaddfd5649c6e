"""Signals are made of the inputs' own frames."""

import numpy as np
import pytest
import torch

from audioup.signals import drawn, extremes, held, is_sound, single


def test_batches_are_taken_apart_and_lengths_may_differ():
    apart = single([torch.zeros(2, 3, 5), torch.ones(1, 3, 7)])
    assert [tuple(x.shape) for x in apart] == [(1, 3, 5), (1, 3, 5), (1, 3, 7)]
    assert [tuple(x.shape) for x in single(torch.zeros(2, 9, dtype=torch.long))] == [(2, 9)]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "at least one tensor, got none"),
        (torch.zeros(1, 8, 0), r"at least one frame on the last axis, got shape \(1, 8, 0\)"),
        (torch.tensor(1.0), r"got shape \(\)"),
        ([torch.zeros(1, 8, 3), torch.full((1, 8, 3), float("nan"))], "finite, got NaN or infinity at index 1"),
        ([torch.zeros(1, 8, 3), torch.zeros(1, 9, 3)], "differ in length only"),
        ([torch.zeros(1, 8, 3), torch.zeros(1, 8, 3).double()], "differ in length only"),
    ],
)
def test_unsuitable_inputs_are_named(inputs, message: str):
    with pytest.raises(ValueError, match=message):
        single(inputs)


def test_what_is_no_tensor_is_named():
    with pytest.raises(TypeError, match="inputs must be tensors, got ndarray at index 0"):
        single([np.zeros((1, 8, 3))])


def test_sound_is_told_from_frames():
    assert [is_sound(torch.zeros(shape)) for shape in ((9,), (1, 9), (1, 2, 9), (80, 9), (1, 3, 9), (1, 1, 4, 9))] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
    assert not is_sound(torch.zeros(1, 9, dtype=torch.long))


def test_a_held_frame():
    x = torch.arange(6.0).view(1, 2, 3)
    assert held(x, 1, 4).tolist() == [[[1, 1, 1, 1], [4, 4, 4, 4]]]


def test_frames_are_drawn_whole_from_all_inputs_evenly_and_alike_for_a_seed():
    frames = torch.arange(10.0)
    inputs = [torch.stack([frames, -frames])[None, :, :4], torch.stack([frames, -frames])[None, :, 4:]]
    x = drawn(inputs, 20000, seed=1)
    assert torch.equal(x[:, 0], -x[:, 1])
    counts = x[0, 0].long().bincount(minlength=10)
    assert (counts - 2000).abs().max() < 5 * (20000 * 0.1 * 0.9) ** 0.5
    # No frame says anything of the next.
    a = x[0, 0] - x[0, 0].mean()
    assert abs(float((a[1:] * a[:-1]).mean() / a.square().mean())) < 5 / 20000**0.5
    assert torch.equal(x, drawn(inputs, 20000, seed=1))
    assert not torch.equal(x, drawn(inputs, 20000, seed=2))


def test_the_quietest_and_the_loudest_frame():
    inputs = [torch.zeros(1, 8, 3), torch.zeros(1, 8, 2)]
    sounds = [[np.array([1.0, 1, 2, 2, 1, 1])], [np.array([0.5, -0.1, 0, -9])]]
    assert extremes(inputs, sounds) == ((1, 0), (1, 1))
    # Two channels add up; a length that is no multiple is divided as evenly as can be.
    sounds = [[np.array([1.0, 1, 1, 0, 0, 3, 3]), np.zeros(7)], [np.array([1.0, 1, 1, 1])]]
    assert extremes(inputs, sounds) == ((0, 1), (0, 2))
