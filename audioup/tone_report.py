"""What a measurement of stride tones says: numbers for programs, a table for people."""

from dataclasses import asdict, dataclass
from typing import Any

ROWS = 8  # of lines in the table


@dataclass(frozen=True)
class ToneLine:
    """One stride harmonic of a recording.

    Attributes:
        frequency_hz: Frequency of the line.
        stages: Indices into ``strides`` of the stages whose harmonics fall here, the latest (likeliest) first.
        level_dbfs: Amplitude of the locked sine in dB of full scale (a full-scale sine is 0 dBFS).
        level_db: Its RMS relative to the RMS of the recording.
        interval_dbfs: 95 % interval of ``level_dbfs``; the lower end is -200 where zero lies within.
        floor_dbfs: RMS amplitude of the spectrum beside the line in one block, the line left out.
        p_value: Probability of so steady a line where none is.
        detected: Whether it survives Benjamini-Hochberg at 0.01 over all lines of the report, and reaches -110 dBFS:
            real recordings hold locked remainders far below their last bit that are no tone to anyone. A steady tone
            one bin (about 16 Hz) beside the harmonic is told apart and not detected.
        beyond_reference: Whether the line is detected and its interval lies above the reference's; None without one,
            and where the reference has no line there, but is too loud or too short to exclude one.
        sign_changing_dbfs: Root mean square amplitude of what is locked but for its sign. A steady line counts too, and
            so does what loud sound leaves by chance: an upper limit, tens of dB too high under loud speech.
        sign_changing_p_value: Of the same test on squares; 1 at Nyquist, where every square is positive.
        sign_changing: Whether that survives Benjamini-Hochberg at 0.01 over all lines, and reaches -110 dBFS.
        modulation_db: Depth by which the variance of the locally normalised sound goes up and down with this frequency,
            ``2 |DFT V|_k / sum V`` for the mean square ``V`` at each phase (one-sided at Nyquist). Steady tones do it
            too, at the sums and differences of their frequencies.
        modulation_p_value: Of the same test on the square of the sound.
        modulated: Whether that survives Benjamini-Hochberg at 0.01 over all lines, and reaches -80 dB.
    """

    frequency_hz: float
    stages: tuple[int, ...]
    level_dbfs: float
    level_db: float
    interval_dbfs: tuple[float, float]
    floor_dbfs: float
    p_value: float
    detected: bool
    beyond_reference: bool | None
    sign_changing_dbfs: float
    sign_changing_p_value: float
    sign_changing: bool
    modulation_db: float
    modulation_p_value: float
    modulated: bool

    @property
    def marks(self) -> str:
        """What the tests found here, in words."""
        found = {
            "detected": self.detected,
            "beyond the reference": bool(self.beyond_reference),
            "changes sign": self.sign_changing and not self.detected,
            f"power repeats, {self.modulation_db:.1f} dB": self.modulated,
        }
        return ", ".join(words for words, holds in found.items() if holds)


@dataclass(frozen=True)
class ImageLine:
    """How far a band is a copy of another: the first image of what a stage starts from, on one side of its rate.

    Attributes:
        stage: Index into ``strides``.
        source_hz: Of what may be copied, from its lowest to its highest frequency.
        band_hz: Where the copies of these two lie: falling where the image is mirrored, rising where it is shifted.
        coherence: Length of the mean of the unit vectors between bin and image, root mean square over the band, without
            what chance gives: 0 unrelated, 1 a copy.
        p_value: Probability of so steady relations where none are.
        detected: Whether it survives Benjamini-Hochberg at 0.01 over all images of the report, and the decoy's p is at
            least 0.01. Held notes relate bands by themselves: of them trust neither this nor ``p_value``.
        decoy_coherence: The same of bins that no stride relates.
        decoy_p_value: Near nothing in particular, unless the sound relates its bands by itself.
    """

    stage: int
    source_hz: tuple[float, float]
    band_hz: tuple[float, float]
    coherence: float
    p_value: float
    detected: bool
    decoy_coherence: float
    decoy_p_value: float


@dataclass(frozen=True)
class ToneReport:
    """What `measure_tones` found.

    Attributes:
        sample_rate: In Hz.
        duration_s: Of all clips together.
        clips: How many clips were tested together; too short and silent ones are left out.
        strides: As given, input to output.
        lines: One per distinct harmonic up to and including Nyquist, by frequency; empty when not testable.
        images: One per stage and side, where blocks are long enough to tell bin and image apart.
        decoy_rate: Share of harmonics of unrelated periods with p < 0.01, near 0.01 unless the sound itself holds
            steady tones; None where nothing could be tested. What repeats in a round number of samples, as mains hum
            does, may share harmonics with the strides and none with a decoy.
        sign_changing_decoy_rate: The same of the test on squares.
        modulation_decoy_rate: The same of the test for modulated noise.
        verdict: ``"tones"``, ``"tones, none beyond the reference"``, ``"tones that change sign"``, ``"clean below X
            dBFS"`` (X bounds every steady line from above) or ``"not testable: why"``.
        notes: What a reader should know besides, such as clipping.
        reference: The report of the reference recording, or None.
    """

    sample_rate: int
    duration_s: float
    clips: int
    strides: tuple[int, ...]
    lines: tuple[ToneLine, ...]
    images: tuple[ImageLine, ...]
    decoy_rate: float | None
    sign_changing_decoy_rate: float | None
    modulation_decoy_rate: float | None
    verdict: str
    notes: tuple[str, ...]
    reference: "ToneReport | None" = None

    @property
    def strongest(self) -> ToneLine | None:
        """The loudest detected line, or None."""
        return max((line for line in self.lines if line.detected), key=lambda line: line.level_dbfs, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values that ``json`` can write."""
        return asdict(self)

    def __str__(self) -> str:
        rows = [self._head()]
        loudest = sorted(self.lines, key=lambda line: (not line.detected, not line.marks, -line.level_dbfs))[:ROWS]
        if loudest:
            rows.append(f"{'Hz':>9} {'stage':>7} {'dBFS':>7} {'95 % interval':>17} {'dB/RMS':>7} {'floor':>7} {'p':>8}")
        for line in loudest:
            low, high = line.interval_dbfs
            stages = ",".join(map(str, line.stages))
            rows.append(
                f"{line.frequency_hz:9.1f} {stages:>7} {line.level_dbfs:7.1f} {low:8.1f} {high:8.1f} "
                f"{line.level_db:7.1f} {line.floor_dbfs:7.1f} {line.p_value:8.1e} {line.marks}".rstrip()
            )
        if len(self.lines) > len(loudest):
            rows.append(f"and {len(self.lines) - len(loudest)} more lines")
        found = [image for image in self.images if image.detected]
        rows += [_image_row(image) for image in found]
        if self.images and not found:
            rows.append(f"none of {len(self.images)} bands is an image of another")
        rates = {
            "lines": self.decoy_rate,
            "squares": self.sign_changing_decoy_rate,
            "modulation": self.modulation_decoy_rate,
        }
        shown = ", ".join(f"{test} {rate:.1%}" for test, rate in rates.items() if rate is not None)
        if shown:
            rows.append(f"decoy periods flagged at p < 0.01: {shown} of their harmonics")
        if self.reference is not None:
            rows.append(f"reference, {self.reference._head()}")
        return "\n".join([*rows, *self.notes])

    def _head(self) -> str:
        strides = ",".join(map(str, self.strides))
        return f"{self.duration_s:.2f} s at {self.sample_rate} Hz, strides {strides}: {self.verdict}"


def _image_row(image: ImageLine) -> str:
    low, high = image.band_hz
    first, last = image.source_hz
    return (
        f"stage {image.stage}: {low:.0f} to {high:.0f} Hz is an image of {first:.0f} to {last:.0f} Hz: coherence "
        f"{image.coherence:.3f}, p {image.p_value:.1e} (decoy {image.decoy_coherence:.3f}, {image.decoy_p_value:.1e})"
    )


def not_tested(sample_rate: int, strides: tuple[int, ...], why: str) -> ToneReport:
    """Return the report of what could not be measured."""
    verdict = f"not testable: {why}"
    return ToneReport(sample_rate, 0.0, 0, strides, (), (), None, None, None, verdict, ())
