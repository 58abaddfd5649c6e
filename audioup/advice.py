"""What to try next, from what was measured: which layer to swap, and what for."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from audioup.inspect import InspectedLayer, Inspection
from audioup.probe_report import ProbeReport
from audioup.tone_report import ToneLine, ToneReport

MOVES_DB = 3.0  # a drop below is none to act on
DULL_DB = -3.0  # at a quarter of the input rate
AUDIBLE_DB = -60.0  # of a tonal fraction; what regular kernels leave is below -120


@dataclass(frozen=True)
class Advice:
    """Something to try.

    Attributes:
        text: What, and the figures that speak for it.
        code: Python that does it to a ``model``, or empty.
    """

    text: str
    code: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that ``json`` can write."""
        return asdict(self)


def advise(
    inspection: Inspection | None, probe: ProbeReport | None, recordings: Sequence[ToneReport] = ()
) -> tuple[Advice, ...]:
    """Say what to try next.

    Args:
        inspection: What the weights tell, if there is a model.
        probe: What the model does to real inputs, if it was run.
        recordings: Of recordings that were measured.

    Returns:
        The most promising first.
    """
    # What an oversampled activation does it undoes itself.
    layers = () if inspection is None else tuple(layer for layer in inspection.layers if not layer.undone)
    found: list[Advice] = []
    if probe is not None and probe.real.strongest is not None:
        found += _of_trials(probe)
    sung = [report for report in recordings if report.strongest is not None and report.verdict == "tones"]
    if sung and probe is None:
        loudest = max(sung, key=lambda report: _strongest(report).level_dbfs)
        found += _of_series(_strongest(loudest), loudest.strides, layers)
    found += _of_weights(layers)
    reports = [*recordings, *([] if probe is None else [probe.real])]
    if any(line.sign_changing and not line.detected for report in reports for line in report.lines):
        found.append(
            Advice(
                "Some lines change their sign with the content: no kernel of order 1 prevents these. Smoother kernels "
                "(regular-2, resize-sinc) and activations without aliasing (audioup.Oversampled) hold them lower."
            )
        )
    if not reports:
        found.append(
            Advice(
                "Weights tell what a constant gets. Whether speech or music has tones only sound tells: measure an "
                "ONNX export with --inputs, recordings that the model made, or the model in Python (audioup.probe)."
            )
        )
    untested = [report.verdict for report in reports if not report.lines]
    if untested:
        found.append(Advice(f"Take longer or louder sound: {untested[0]}."))
    if not found:
        found.append(Advice("Nothing was found that a swap would mend."))
    return tuple(found)


def _of_trials(probe: ProbeReport) -> Iterator[Advice]:
    line = _strongest(probe.real)
    at = f"The strongest line on the real input, {line.level_dbfs:.1f} dBFS at {line.frequency_hz:g} Hz,"
    trials = probe.attribution.trials if probe.attribution is not None else ()
    held = [trial for trial in trials if trial.projected and trial.drop_db]
    best = max(held, key=lambda trial: trial.drop_db[0], default=None)
    if best is not None and best.drop_db[0] >= MOVES_DB:
        least = "at least " if best.at_least[0] else ""
        yield Advice(
            f"{at} falls by {least}{best.drop_db[0]:.1f} dB when layer {best.name} alone is held at order 1: swap that "
            "layer first, and tune the model afterwards. A swap alone is no repair where the model has come to use "
            "its tone.",
            f'audioup.convert(model, to="regular-1", where=lambda name: name == {best.name!r})',
        )
    elif held:
        yield Advice(
            f"{at} falls by less than {MOVES_DB:g} dB whichever single layer is held at order 1: swap them together.",
            'audioup.convert(model, to="regular-1")',
        )
    elif trials and all(trial.drop_db for trial in trials):
        yield Advice(
            f"{at} is made by layers that are of order 1 already, of what varies in the input. Lower it with smoother "
            "kernels, with activations without aliasing (audioup.Oversampled), or by audioup.StrideToneLoss.",
            'audioup.convert(model, to="regular-2")',
        )
    else:
        yield Advice(f"{at} could not be traced to a layer; see the notes on each.")


def _of_series(line: ToneLine, strides: Sequence[int], layers: Sequence[InspectedLayer]) -> Iterator[Advice]:
    at = f"The strongest line, {line.level_dbfs:.1f} dBFS at {line.frequency_hz:g} Hz,"
    stages = ", ".join(f"{stage} (stride {strides[stage]})" for stage in line.stages)
    yield Advice(f"{at} lies on the series of stage {stages}, the likeliest first.")
    if len(layers) == len(strides) and all(layers[stage].stride == strides[stage] for stage in line.stages):
        worst = max((layers[stage] for stage in line.stages), key=lambda layer: layer.tonal_fraction_db)
        yield Advice(
            f"Of these, layer {worst.name} makes most tone of a constant: a share of {worst.tonal_fraction_db:.1f} dB.",
            f'audioup.convert(model, to="regular-1", where=lambda name: name == {worst.name!r})',
        )


def _of_weights(layers: Sequence[InspectedLayer]) -> Iterator[Advice]:
    for layer in layers:
        if layer.overlap != "even":
            yield Advice(
                f"Layer {layer.name}: a kernel of {layer.kernel_size} taps at stride {layer.stride} overlaps unevenly, "
                "so that it begins with lines before anything is learned. Take a multiple of the stride."
                if layer.overlap == "uneven"
                else f"Layer {layer.name}: a kernel of {layer.kernel_size} taps leaves gaps at stride {layer.stride}: "
                "some outputs see no input at all. Take twice the stride."
            )
    loud = [layer for layer in layers if layer.tonal_fraction_db > AUDIBLE_DB]
    if loud:
        worst = max(loud, key=lambda layer: layer.tonal_fraction_db)
        yield Advice(
            f"{len(loud)} of {len(layers)} layers make tone of a constant, most layer {worst.name}, a share of "
            f"{worst.tonal_fraction_db:.1f} dB of its response. Layers of order 1 make none.",
            'audioup.convert(model, to="regular-1")',
        )
    for layer in layers:
        if layer.note:
            yield Advice(f"Layer {layer.name}: {layer.note}.")
        response = layer.response
        if response is not None and response.droop_quarter_db < DULL_DB:
            yield Advice(
                f"Layer {layer.name} is dull: it takes {-response.droop_quarter_db:.1f} dB off a sine at a quarter of "
                "its input rate. More taps, or resize-sinc, lose less."
            )


def _strongest(report: ToneReport) -> ToneLine:
    line = report.strongest
    if line is None:
        raise ValueError("report must hold a detected line")
    return line
