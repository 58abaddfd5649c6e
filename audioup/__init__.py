"""audioup: upsampling for audio generators that does not whine, and the measurement that shows it.

- `audioup.functional`: the one operator, `upsample1d` and `upsample2d`, and the pixel shuffles.
- `TransposedConv1d`, `SubPixelConv1d`, `ResizeConv1d`: three layers over it, swappable by one word; `...2d` for images.
- `audioup.regularity`: `regular` holds a kernel free of tones on slow signals, whatever it learns.
- `convert` swaps the upsampling of a model that is there already, `fold` turns layers into plain torch for deployment,
  `streaming.Stream` runs a model chunk by chunk; `weights` reads state dicts with weight norm.
- `audioup.interpolation`, `audioup.init`: the filters, the initialisation and the weight norm they use.
- `Oversampled`, `Snake`, `SnakeBeta`: activations that do not alias, or less.
- `tone_response`, `tonal_fraction`, `rectified_tones`, `filter_response`, `image_response`, `passband_droop`,
  `phase_power`: tones, images, droop and noise modulation from weights, for sound and images.
- `measure_tones`: stride tones from sound; the command line is ``audioup measure``, the pictures `audioup.plot`.
- `scan_periods`: the period of steady lines of unknown origin; the command line is ``audioup measure --scan``.
- `probe`: finds the upsampling stages of any network, measures its tones and tries which stage makes them.
- `overlap`: how often a transposed convolution writes to each sample, and any linear layer as a matrix
  (`operator_matrix`); `checkerboard_energy`: how much of an image repeats with the strides.
- `gradient_tones`: the lines that a discriminator or classifier puts into what it teaches.
- `inspect_model`: what upsamples in a model or a model file, and what its weights tell; ``audioup inspect``.
- `plan`: strides for a hop length before anything is trained: places of lines, cost, reach; ``audioup plan``.
- `report_card`, `write_card`: all of it on one page; ``audioup report``.
- `ToneMonitor`, `assert_tone_free`: levels during training, a bound for your own tests; `stride_tone_loss`,
  `StrideToneLoss`, `kernel_tone_loss`: losses that lower them.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audioup import functional as functional
    from audioup import overlap as overlap
    from audioup import streaming as streaming
    from audioup import weights as weights
    from audioup.activation import Oversampled as Oversampled
    from audioup.activation import Snake as Snake
    from audioup.activation import SnakeBeta as SnakeBeta
    from audioup.assertions import assert_tone_free as assert_tone_free
    from audioup.checkerboard import checkerboard_energy as checkerboard_energy
    from audioup.conversion import Conversion as Conversion
    from audioup.convert import convert as convert
    from audioup.fold import fold as fold
    from audioup.gradient_report import GradientLine as GradientLine
    from audioup.gradient_report import GradientReport as GradientReport
    from audioup.gradients import gradient_tones as gradient_tones
    from audioup.gradients import measure_gradient as measure_gradient
    from audioup.inspect import Inspection as Inspection
    from audioup.inspect import inspect_model as inspect_model
    from audioup.loss import StrideToneLoss as StrideToneLoss
    from audioup.loss import kernel_tone_loss as kernel_tone_loss
    from audioup.loss import stride_tone_loss as stride_tone_loss
    from audioup.measure import measure_tones as measure_tones
    from audioup.monitor import ToneMonitor as ToneMonitor
    from audioup.overlap import operator_matrix as operator_matrix
    from audioup.plan import plan as plan
    from audioup.plan_report import PlanReport as PlanReport
    from audioup.probe import probe as probe
    from audioup.probe_report import ProbeReport as ProbeReport
    from audioup.regularity import project as project
    from audioup.regularity import regular as regular
    from audioup.regularity import regularity_order as regularity_order
    from audioup.report import Card as Card
    from audioup.report import report_card as report_card
    from audioup.report import write_card as write_card
    from audioup.resize import ResizeConv1d as ResizeConv1d
    from audioup.resize import ResizeConv2d as ResizeConv2d
    from audioup.response import FilterResponse as FilterResponse
    from audioup.response import filter_response as filter_response
    from audioup.response import image_response as image_response
    from audioup.response import passband_droop as passband_droop
    from audioup.response import phase_power as phase_power
    from audioup.scan import scan_periods as scan_periods
    from audioup.scan_report import ScanReport as ScanReport
    from audioup.subpixel import SubPixelConv1d as SubPixelConv1d
    from audioup.subpixel import SubPixelConv2d as SubPixelConv2d
    from audioup.tone_report import ImageLine as ImageLine
    from audioup.tone_report import ToneLine as ToneLine
    from audioup.tone_report import ToneReport as ToneReport
    from audioup.tones import rectified_tones as rectified_tones
    from audioup.tones import tonal_fraction as tonal_fraction
    from audioup.tones import tone_response as tone_response
    from audioup.transposed import TransposedConv1d as TransposedConv1d
    from audioup.transposed import TransposedConv2d as TransposedConv2d

__version__ = "0.1.0"

# Where each public name lives. It is loaded when it is first used: the command line needs none of torch.
_HOMES = {
    "Oversampled": "activation",
    "Snake": "activation",
    "SnakeBeta": "activation",
    "assert_tone_free": "assertions",
    "checkerboard_energy": "checkerboard",
    "Conversion": "conversion",
    "convert": "convert",
    "fold": "fold",
    "GradientLine": "gradient_report",
    "GradientReport": "gradient_report",
    "gradient_tones": "gradients",
    "measure_gradient": "gradients",
    "Inspection": "inspect",
    "inspect_model": "inspect",
    "StrideToneLoss": "loss",
    "kernel_tone_loss": "loss",
    "stride_tone_loss": "loss",
    "measure_tones": "measure",
    "ToneMonitor": "monitor",
    "operator_matrix": "overlap",
    "plan": "plan",
    "PlanReport": "plan_report",
    "probe": "probe",
    "ProbeReport": "probe_report",
    "project": "regularity",
    "regular": "regularity",
    "regularity_order": "regularity",
    "Card": "report",
    "report_card": "report",
    "write_card": "report",
    "ResizeConv1d": "resize",
    "ResizeConv2d": "resize",
    "FilterResponse": "response",
    "filter_response": "response",
    "image_response": "response",
    "passband_droop": "response",
    "phase_power": "response",
    "scan_periods": "scan",
    "ScanReport": "scan_report",
    "SubPixelConv1d": "subpixel",
    "SubPixelConv2d": "subpixel",
    "ImageLine": "tone_report",
    "ToneLine": "tone_report",
    "ToneReport": "tone_report",
    "rectified_tones": "tones",
    "tonal_fraction": "tones",
    "tone_response": "tones",
    "TransposedConv1d": "transposed",
    "TransposedConv2d": "transposed",
}

__all__ = ["functional", "overlap", "streaming", "weights", *_HOMES]


class _Package(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name in _HOMES:
            value = getattr(import_module(f"audioup.{_HOMES[name]}"), name)
        elif name in __all__:
            value = import_module(f"audioup.{name}")
        else:
            raise AttributeError(f"module 'audioup' has no attribute {name!r}")
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # Python binds a module to its package once it is loaded; where a function has that name, the function wins.
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Any, ...]:  # as Python's own modules are pickled, by cloudpickle for one
        return import_module, (self.__name__,)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
