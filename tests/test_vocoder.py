"""The vocoder's parts: generator, mel, discriminators, losses, checkpoints."""

import dataclasses
import math

import librosa
import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from vocoder import checkpoint
from vocoder.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from vocoder.discriminators import Discriminators, PeriodDiscriminator
from vocoder.losses import ReconstructionLoss, adversarial_loss, discriminator_loss, feature_loss
from vocoder.mel import CLAMP, LogMel, input_mel
from vocoder.model import UPSAMPLERS, Generator, GeneratorShape
from vocoder.presets import PRESETS

TINY = PRESETS["tiny"].generator


@pytest.mark.parametrize("upsampler", UPSAMPLERS)
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_generator_makes_hop_length_samples_a_frame(upsampler: str, noise: float) -> None:
    shape = dataclasses.replace(TINY, strides=(3, 4), channels=16)
    generator = Generator(20, shape, upsampler, noise)
    sound = generator(torch.randn(2, 20, 7))
    assert sound.shape == (2, 1, 12 * 7)
    assert sound.abs().max() <= 1


@pytest.mark.parametrize("upsampler", UPSAMPLERS)
def test_every_parameter_gets_a_gradient(upsampler: str) -> None:
    generator = Generator(80, TINY, upsampler, 0.1)
    generator(torch.randn(1, 80, 8)).square().sum().backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_noise_is_fresh_in_every_call_and_absent_without() -> None:
    mel = torch.randn(1, 80, 4)
    noisy, plain = Generator(80, TINY, "transposed", 0.1), Generator(80, TINY, "transposed")
    assert not torch.equal(noisy(mel), noisy(mel))
    assert torch.equal(plain(mel), plain(mel))


@pytest.mark.parametrize(("preset", "millions"), [("v1", 13.92), ("v2", 0.92), ("v3", 1.46)])
def test_presets_have_the_published_sizes(preset: str, millions: float) -> None:
    # Table 1 of Kong et al. (2020); the gains of weight norm are not counted there.
    generator = Generator(80, PRESETS[preset].generator, "transposed")
    count = sum(p.numel() for name, p in generator.named_parameters() if not name.endswith("original0"))
    assert count / 1e6 == pytest.approx(millions, abs=0.01)


def test_an_unknown_upsampler_and_odd_channels_are_errors() -> None:
    with pytest.raises(ValueError, match="upsampler must be one of"):
        Generator(80, TINY, "bicubic")
    with pytest.raises(ValueError, match="channels must be divisible by 8"):
        Generator(80, dataclasses.replace(TINY, channels=100), "transposed")


def test_mel_equals_its_definition_written_with_numpy_and_librosa() -> None:
    sample_rate, hop_length, n_fft = 22050, 256, 1024
    audio = np.random.default_rng(0).standard_normal(5000).astype(np.float32) * 0.1
    padded = np.pad(audio, (n_fft - hop_length) // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop_length]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    magnitude = np.abs(np.fft.rfft(frames * window)).T
    bank = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=80, fmin=0, fmax=8000)
    expected = np.log(np.maximum(bank @ magnitude, 1e-5))
    actual = input_mel(sample_rate, hop_length)(torch.from_numpy(audio)).numpy()
    assert actual.shape == (80, 5000 // hop_length)
    np.testing.assert_allclose(actual, expected, atol=2e-4)


def test_mel_constants_scale_with_the_sample_rate() -> None:
    assert [LogMel(rate, 256).n_fft for rate in (8000, 16000, 22050, 24000, 44100, 48000)] == [
        512,
        1024,
        1024,
        1024,
        2048,
        2048,
    ]
    assert input_mel(16000, 256).mel.f_max == 8000
    assert input_mel(22050, 256).mel.f_max == 8000
    assert input_mel(44100, 256).mel.f_max == pytest.approx(16000)


def test_mel_of_silence_is_the_clamp_and_clips_shorter_than_the_window_work() -> None:
    mel = input_mel(22050, 256)
    torch.testing.assert_close(mel(torch.zeros(256)), torch.full((80, 1), math.log(CLAMP)))
    assert mel(torch.zeros(3, 512)).shape == (3, 80, 2)


def test_reconstruction_loss_is_zero_for_equal_sound_and_has_a_gradient_on_silence() -> None:
    loss = ReconstructionLoss(16000, 256)
    real = 0.1 * torch.randn(1, 1, 4096)
    same = sum(loss(real, real))
    assert float(same) == pytest.approx(0, abs=1e-4)
    # Far below the clamp of the log-mel, where a clamped logarithm would have no gradient at all.
    faint = (1e-9 * torch.randn(1, 1, 4096)).requires_grad_()
    mel_loss, _ = loss(faint, real)
    mel_loss.backward()
    assert faint.grad is not None
    assert faint.grad.abs().mean() > 1e-3
    clamped = (loss.mel(faint) - loss.mel(real)).abs().mean()
    (gradient,) = torch.autograd.grad(clamped, faint)
    assert gradient.abs().max() == 0


def test_adversarial_losses_by_hand() -> None:
    ones, zeros, half = torch.ones(2, 3), torch.zeros(2, 3), torch.full((2, 3), 0.5)
    right = discriminator_loss([(ones, [])], [(zeros, [])])
    wrong = discriminator_loss([(zeros, []), (zeros, [])], [(ones, []), (half, [])])
    assert float(right) == 0
    assert float(wrong) == pytest.approx(1 + 1 + 1 + 0.25)
    assert float(adversarial_loss([(half, []), (zeros, [])])) == pytest.approx(1.25)
    assert float(feature_loss([(ones, [ones, half])], [(ones, [zeros, ones])])) == pytest.approx(1.5)


def test_discriminators_judge_every_sound_of_a_batch_apart() -> None:
    judges = Discriminators(PRESETS["tiny"].discriminators)
    sounds = 0.1 * torch.randn(2, 1, 4096)
    both, alone = judges(sounds, sounds[1:])
    assert len(both) == 5
    for (scores, features), (score, feature) in zip(both, alone, strict=True):
        torch.testing.assert_close(scores[1:], score, atol=1e-5, rtol=1e-4)
        assert len(features) == len(feature) >= 5


def test_a_period_discriminator_sees_one_column_at_a_time() -> None:
    judge = PeriodDiscriminator(3, (4, 4))
    sound = torch.zeros(1, 1, 300, requires_grad=True)
    judge(sound)[1][0][..., 0].sum().backward()  # first layer, column 0
    assert sound.grad is not None
    reached = sound.grad.flatten().nonzero().flatten() % 3
    assert reached.unique().tolist() == [0]


def _state() -> dict[str, dict[str, torch.Tensor]]:
    return {"generator": {"a": torch.randn(3, 4), "b": torch.randn(2)}}


def test_checkpoints_round_trip_and_only_the_newest_two_stay(tmp_path) -> None:
    for step in (1, 2, 10):
        state = _state()
        save_checkpoint(tmp_path, step, state, {"optimizers": {"x": torch.ones(2) * step}})
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000002", "step-000010"]
    weights, state_read = load_checkpoint(checkpoints(tmp_path)[-1], ("generator",))
    assert state_read["step"] == 10
    assert torch.equal(weights["generator"]["a"], state["generator"]["a"])
    assert state_read["optimizers"]["x"].tolist() == [10, 10]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("unexpected pos 64 vs 0"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
    ids=["the system's", "torch's", "safetensors'"],
)
def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path, monkeypatch, error: Exception) -> None:
    save_checkpoint(tmp_path, 1, _state(), {})
    before = {path.name: path.read_bytes() for path in checkpoints(tmp_path)[0].iterdir()}

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(checkpoint.torch, "save", fail)
    with pytest.raises(OSError, match=r"No space|cannot write checkpoint"):
        save_checkpoint(tmp_path, 2, _state(), {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]
    assert {path.name: path.read_bytes() for path in checkpoints(tmp_path)[0].iterdir()} == before


@pytest.mark.parametrize("file", ["generator.safetensors", "state.pt"])
def test_a_damaged_checkpoint_is_named(tmp_path, file: str) -> None:
    path = save_checkpoint(tmp_path, 1, _state(), {})
    (path / file).write_bytes((path / file).read_bytes()[:20])
    with pytest.raises(ValueError, match=rf"step-000001 cannot be read \({file} is not what was written\)$"):
        load_checkpoint(path, ("generator",))


@pytest.mark.parametrize("upsampler", UPSAMPLERS)
def test_noise_gives_smooth_upsamplers_something_to_shape(upsampler: str) -> None:
    # Without it linear and sinc interpolation of a slow mel start with most mel bands below the clamp: no gradient.
    torch.manual_seed(0)
    slow = torch.nn.functional.interpolate(2 * torch.randn(8, 80, 4) - 5, scale_factor=10, mode="linear")
    below = {}
    for noise in (0.0, 0.1):
        with torch.no_grad():
            sound = Generator(80, TINY, upsampler, noise)(slow).squeeze(1)
        magnitude = LogMel(16000, 256).magnitude(sound)
        below[noise] = float((magnitude < CLAMP).float().mean())
    smooth = upsampler in ("resize-linear", "resize-cubic", "resize-sinc", "regular-2", "regular-2-short")
    assert (below[0.0] > 0.3) == smooth
    assert below[0.1] < 0.001


@pytest.mark.parametrize("activation", ["snake", "snakebeta"])
def test_a_generator_with_snakes_has_a_gradient_everywhere(activation: str) -> None:
    torch.manual_seed(0)
    shape = GeneratorShape((4, 2), 16, (3, 5), ((1, 3), (1, 2)), 2, activation=activation)
    generator = Generator(10, shape, "regular-1", 0.1)
    generator(torch.randn(1, 10, 20)).square().sum().backward()
    gradients = {name: value.grad for name, value in generator.named_parameters()}
    assert sum("alpha" in name for name in gradients) == 2 * 2 * 4 + 1
    assert all(gradient.abs().max() > 0 for gradient in gradients.values())


def test_upsampling_kernels_are_for_transposed_convolutions_only() -> None:
    shape = GeneratorShape((4, 2), 16, (3,), ((1, 3),), 2, upsampling_kernels=(12, 6))
    assert [up.kernel_size for up in Generator(10, shape, "transposed").ups] == [12, 6]
    for upsampler, kernels in (("subpixel", (12, 6)), ("transposed", (12,))):
        wrong = GeneratorShape((4, 2), 16, (3,), ((1, 3),), 2, upsampling_kernels=kernels)
        with pytest.raises(ValueError, match=r"^upsampling_kernels must be one for each of the strides \(4, 2\)"):
            Generator(10, wrong, upsampler)


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^activation must be one of leaky_relu, snake, snakebeta, got 'gelu'"):
        Generator(10, GeneratorShape((4, 2), 16, (3,), ((1, 3),), 2, activation="gelu"), "transposed")
