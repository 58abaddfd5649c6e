"""audioup: upsampling for audio generators that does not whine, and the measurement that shows it.

- `audioup.functional`: the one operator, `upsample1d`, and `pixel_shuffle_1d`.
- `TransposedConv1d`, `SubPixelConv1d`, `ResizeConv1d`: three layers over it, swappable by one word.
- `audioup.interpolation`, `audioup.init`: the filters and the initialisation they use.
- `tone_response`, `tonal_fraction`: stride tones from weights.
- `measure_tones`: stride tones from sound; the command line is ``audioup measure``, the pictures `audioup.plot`.
"""

from audioup import functional
from audioup.measure import ToneLine, ToneReport, measure_tones
from audioup.resize import ResizeConv1d
from audioup.subpixel import SubPixelConv1d
from audioup.tones import tonal_fraction, tone_response
from audioup.transposed import TransposedConv1d

__version__ = "0.1.0"

__all__ = [
    "ResizeConv1d",
    "SubPixelConv1d",
    "ToneLine",
    "ToneReport",
    "TransposedConv1d",
    "functional",
    "measure_tones",
    "tonal_fraction",
    "tone_response",
]
