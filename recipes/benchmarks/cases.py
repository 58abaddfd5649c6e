"""What is timed: contenders that do the same job, ours first."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import alias_free_torch
import julius.resample
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from vocoder.model import Generator
from vocoder.presets import PRESETS

from audioup import Oversampled, ResizeConv1d, ResizeConv2d, Snake
from audioup.engines import Engine
from audioup.functional import upsample1d
from audioup.interpolation import interpolation_filter

TRAINING = (16, 32)  # batch, mel frames: a segment of 8192 samples
INFERENCE = (1, 800)
IMAGES = ((16, 64, 32), (16, 128, 16), (8, 256, 16))  # batch, channels, height and width
SOUNDS = ((8, 256, 256), (8, 64, 2048), (8, 16, 8192), (1, 64, 6400))  # batch, channels, frames
SINC_ZEROS = 3  # on either side: 6 taps a phase, as alias_free_torch has by default; julius adds a zero


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        group: Cases of a group are summed up by one geometric mean.
        shape: Says which case of the group.
        x: The input.
        contenders: By name; the first is ours.
        backward: Whether the gradients are computed too, of the input and of the parameters.
    """

    group: str
    shape: str
    x: Tensor
    contenders: dict[str, Callable[[Tensor], Tensor]]
    backward: bool


@dataclass(frozen=True)
class Stage:
    """An upsampler of a HiFi-GAN and the frames it gets."""

    preset: str
    number: int
    in_channels: int
    stride: int
    batch: int
    frames: int

    def __str__(self) -> str:
        channels = f"{self.in_channels} -> {self.in_channels // 2}"
        return f"{self.preset} stage {self.number}: {channels}, stride {self.stride}, {self.batch} x {self.frames}"

    def resize(self, mode: str = "nearest", separable: bool | None = None, engine: Engine = "auto") -> ResizeConv1d:
        """Build a resize-convolution; nearest has the composite length of the transposed convolution below."""
        return ResizeConv1d(
            self.in_channels,
            self.in_channels // 2,
            self.stride + 1,
            self.stride,
            mode=mode,
            separable=separable,
            engine=engine,
        )

    def transposed(self) -> nn.ConvTranspose1d:
        """Build torch's layer as HiFi-GAN has it: twice the stride long."""
        s = self.stride
        return nn.ConvTranspose1d(self.in_channels, self.in_channels // 2, 2 * s, s, padding=s // 2)

    def naive(self) -> nn.Sequential:
        """Build the resize-convolution as it is usually written."""
        s = self.stride
        convolution = nn.Conv1d(self.in_channels, self.in_channels // 2, s + 1, padding="same")
        return nn.Sequential(nn.Upsample(scale_factor=s), convolution)

    def draw(self) -> Tensor:
        """Draw an input."""
        return torch.randn(self.batch, self.in_channels, self.frames)


def stages(batch: int, frames: int) -> Iterator[Stage]:
    """All upsamplers of HiFi-GAN V1, V2 and V3, each with the frames that the ones before it leave."""
    for preset in ("v1", "v2", "v3"):
        shape, rate = PRESETS[preset].generator, 1
        for number, stride in enumerate(shape.strides):
            yield Stage(preset.upper(), number + 1, shape.channels >> number, stride, batch, frames * rate)
            rate *= stride


def nearest() -> Iterator[Case]:
    """Nearest resize-convolution against the layer it replaces and against itself written out."""
    for backward, (batch, frames) in ((True, TRAINING), (False, INFERENCE)):
        for stage in stages(batch, frames):
            contenders: dict[str, nn.Module] = {
                "ResizeConv1d": stage.resize(),
                "nn.ConvTranspose1d": stage.transposed(),
                "nn.Upsample, nn.Conv1d": stage.naive(),
            }
            for layer in contenders.values():
                layer.train(backward)
            name = "nearest, training" if backward else "nearest, inference"
            yield Case(name, str(stage), stage.draw(), dict(contenders), backward)


def engines() -> Iterator[Case]:
    """The engine that is chosen against both there are."""
    for backward, (batch, frames) in ((True, TRAINING), (False, INFERENCE)):
        for stage in stages(batch, frames):
            contenders = {
                name: stage.resize(engine=name).train(backward) for name in ("auto", "transposed", "polyphase")
            }
            name = "engine, training" if backward else "engine, inference"
            yield Case(name, str(stage), stage.draw(), dict(contenders), backward)


def images() -> Iterator[Case]:
    """Nearest resize-convolution of images, stride 2, 3 x 3, against itself written out."""
    for batch, channels, size in IMAGES:
        contenders: dict[str, Callable[[Tensor], Tensor]] = {
            "ResizeConv2d": ResizeConv2d(channels, channels, 3, 2),
            "nn.Upsample, nn.Conv2d": nn.Sequential(
                nn.Upsample(scale_factor=2), nn.Conv2d(channels, channels, 3, padding="same")
            ),
            "nn.ConvTranspose2d": nn.ConvTranspose2d(channels, channels, 4, 2, padding=1),
        }
        x = torch.randn(batch, channels, size, size)
        yield Case("nearest, images, training", f"{batch} x {channels} x {size} x {size}", x, contenders, True)


def sinc(stride: int, batch: int, channels: int, frames: int) -> Case:
    """Fixed sinc interpolation, every channel alike, with filters of ``2 SINC_ZEROS`` taps a phase."""
    taps = interpolation_filter("sinc", stride, SINC_ZEROS).float()
    kernel, origin = taps.expand(channels, 1, -1), (len(taps) - stride + 1) // 2
    contenders: dict[str, Callable[[Tensor], Tensor]] = {
        "upsample1d": lambda x: upsample1d(x, kernel, stride, origin, groups=channels, padding_mode="replicate"),
        "alias_free_torch": alias_free_torch.UpSample1d(stride, 2 * SINC_ZEROS * stride),
        "julius": julius.resample.ResampleFrac(1, stride, zeros=SINC_ZEROS, rolloff=1.0),
    }
    shape = f"{batch} x {channels} x {frames}"
    return Case(f"sinc by {stride}", shape, torch.randn(batch, channels, frames), contenders, False)


def sincs() -> Iterator[Case]:
    """Sinc interpolation by 2 and by 8."""
    for stride in (2, 8):
        for batch, channels, frames in SOUNDS:
            yield sinc(stride, batch, channels, frames)


def oversampled_activations() -> Iterator[Case]:
    """Activations at twice the rate between filters of 12 taps, against the package that BigVGAN's code came from."""
    for batch, channels, frames in SOUNDS:
        x = torch.randn(batch, channels, frames)
        activations: dict[str, nn.Module] = {"LeakyReLU": nn.LeakyReLU(0.1), "Snake": Snake(channels)}
        for name, activation in activations.items():
            contenders: dict[str, Callable[[Tensor], Tensor]] = {
                "Oversampled": Oversampled(activation, 2, zeros=3),
                "alias_free_torch": alias_free_torch.Activation1d(activation, 2, 2, 12, 12),
            }
            yield Case("oversampled activation", f"{name}, {batch} x {channels} x {frames}", x, contenders, True)


def separable() -> Iterator[Case]:
    """Sinc resize-convolution channel by channel, which counting chooses, against the folded kernel."""
    chosen = [stage for stage in stages(*TRAINING) if stage.preset == "V1"]
    for stage in chosen:
        layers = [stage.resize(mode="sinc", separable=way) for way in (True, False)]
        contenders: dict[str, Callable[[Tensor], Tensor]] = dict(zip(("separable", "folded"), layers, strict=True))
        yield Case("separable sinc", str(stage), stage.draw(), contenders, True)


def generators() -> Iterator[Case]:
    """Whole generators that differ in their upsamplers only."""
    for backward, (batch, frames) in ((True, TRAINING), (False, INFERENCE)):
        for preset in ("v1", "v2"):
            shape = PRESETS[preset].generator
            ours = Generator(80, shape, "resize-nearest")
            contenders: dict[str, nn.Module] = {"resize-nearest": ours}
            builders: dict[str, Callable[[Stage], nn.Module]] = {
                "nn.ConvTranspose1d": Stage.transposed,
                "nn.Upsample, nn.Conv1d": Stage.naive,
            }
            for name, build in builders.items():
                peer = Generator(80, shape, "resize-nearest")  # no deepcopy: copies share parametrised classes
                peer.load_state_dict(ours.state_dict())
                peer.ups = nn.ModuleList(
                    _weight_normed(build(stage)) for stage in stages(batch, frames) if stage.preset == preset.upper()
                )
                contenders[name] = peer
            for network in contenders.values():
                if not backward:
                    _remove_weight_norm(network)
                network.train(backward)
            name = f"generator, {'training' if backward else 'inference'}"
            x = torch.randn(batch, 80, frames)
            yield Case(name, f"{preset.upper()}, {batch} x {frames}", x, dict(contenders), backward)


def _weight_normed(module: nn.Module) -> nn.Module:
    for part in module.modules():
        if isinstance(part, (nn.Conv1d, nn.ConvTranspose1d)):
            parametrizations.weight_norm(part)
    return module


def _remove_weight_norm(network: nn.Module) -> None:
    for part in list(network.modules()):
        if parametrize.is_parametrized(part, "weight"):
            parametrize.remove_parametrizations(part, "weight")
