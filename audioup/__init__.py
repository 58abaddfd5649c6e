"""audioup: upsampling for audio generators that does not whine, and the measurement that shows it.

- `audioup.functional`: the one operator, `upsample1d` and `upsample2d`, and the pixel shuffles.
- `TransposedConv1d`, `SubPixelConv1d`, `ResizeConv1d`: three layers over it, swappable by one word; `...2d` for images.
- `audioup.regularity`: `regular` holds a kernel free of tones on slow signals, whatever it learns.
- `convert` swaps the upsampling of a model that is there already, `fold` turns layers into plain torch for deployment,
  `streaming.Stream` runs a model chunk by chunk; `weights` reads state dicts with weight norm.
- `audioup.interpolation`, `audioup.init`: the filters, the initialisation and the weight norm they use.
- `Oversampled`, `Snake`, `SnakeBeta`: activations that do not alias, or less.
- `tone_response`, `tonal_fraction`, `rectified_tones`, `filter_response`: tones, images and droop from weights.
- `measure_tones`: stride tones from sound; the command line is ``audioup measure``, the pictures `audioup.plot`.
"""

from audioup import functional, streaming, weights
from audioup.activation import Oversampled, Snake, SnakeBeta
from audioup.conversion import Conversion
from audioup.convert import convert
from audioup.fold import fold
from audioup.measure import ToneLine, ToneReport, measure_tones
from audioup.regularity import project, regular, regularity_order
from audioup.resize import ResizeConv1d, ResizeConv2d
from audioup.response import FilterResponse, filter_response
from audioup.subpixel import SubPixelConv1d, SubPixelConv2d
from audioup.tones import rectified_tones, tonal_fraction, tone_response
from audioup.transposed import TransposedConv1d, TransposedConv2d

__version__ = "0.1.0"

__all__ = [
    "Conversion",
    "FilterResponse",
    "Oversampled",
    "ResizeConv1d",
    "ResizeConv2d",
    "Snake",
    "SnakeBeta",
    "SubPixelConv1d",
    "SubPixelConv2d",
    "ToneLine",
    "ToneReport",
    "TransposedConv1d",
    "TransposedConv2d",
    "convert",
    "filter_response",
    "fold",
    "functional",
    "measure_tones",
    "project",
    "rectified_tones",
    "regular",
    "regularity_order",
    "streaming",
    "tonal_fraction",
    "tone_response",
    "weights",
]
