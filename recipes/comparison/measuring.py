"""Measure what was trained, once: what is in a file already is read from it."""

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from training.machine import make_fabric
from vocoder.data import Corpus, listing_digest
from vocoder.levels import levels
from vocoder.options import Settings
from vocoder.report import Pair, generate_held_out

from audioup import measure_tones
from comparison.lines import measure_lines, measure_recordings, without_lines
from comparison.phases import Phase, write_json
from comparison.quality import Crepe, Quality, means
from comparison.speeds import measure_speeds

VALIDATION_CLIPS = 4  # what `train_vocoder.py` measures while it trains


class Measuring:
    """Measure the vocoders of a comparison on the same held-out clips.

    Args:
        out: Folder of the comparison; ``out/measured`` keeps what was found.
        corpus: Its test clips are generated.
        clips: At most so many of them.
        crepe: Size of the pitch tracker.
    """

    def __init__(self, out: Path, corpus: Corpus, clips: int, crepe: Crepe) -> None:
        self.out, self.corpus, self.clips, self.crepe = out, corpus, clips, crepe
        self._quality: Quality | None = None

    def check_alike(self, phases: Sequence[Phase]) -> None:
        """Raise `ValueError` unless all were trained on the training clips of the corpus, and on the same device."""
        expected = listing_digest(self.corpus.train)
        for phase in phases:
            config = self.out / "runs" / phase.run / "config.json"
            if _read(config).get("recordings") != expected:
                raise ValueError(f"{config.parent} was trained on other recordings: remove it to train it again")
        devices = {phase.card(self.out)["device"].partition(":")[0] for phase in phases}
        if len(devices) > 1:
            raise ValueError(f"{self.out} holds trainings of different devices ({', '.join(sorted(devices))})")

    def phase(self, phase: Phase) -> dict[str, Any]:
        """Return ``quality`` (means), ``clips`` (the same of each) and ``lines`` of what a vocoder generates."""

        def find() -> dict[str, Any]:
            run, quality = phase.open(self.out), self.quality(phase)
            pairs = self._pairs(phase)
            clips = {
                name: quality.clip(name, real, generated)
                for name, real, generated in tqdm(pairs, phase.key, leave=False)
            }
            lines = measure_lines(run.generator, run.mel, pairs, self.corpus.sample_rate)
            reals, sounds = [real for _, real, _ in pairs], [generated for _, _, generated in pairs]
            rest = without_lines(sounds, run.generator.shape.hop_length)
            found = {**means(list(clips.values())), "mel_l1_without_lines": quality.mel_l1(reals, rest)}
            return {"quality": found, "clips": clips, "lines": lines}

        made_with = {"weights": phase.digest(self.out), **self._held_out(), "crepe": self.crepe}
        return self._once(phase.key, made_with, find)

    def recordings(self, phase: Phase) -> dict[str, Any]:
        """Return what of ``quality`` and ``lines`` the recordings have themselves; any vocoder tells the strides."""

        def find() -> dict[str, Any]:
            shape, pairs = phase.open(self.out).generator.shape, self._pairs(phase)
            quality, reals = self.quality(phase), [real for _, real, _ in pairs]
            own = quality.mel_l1(reals, without_lines(reals, shape.hop_length))
            return {
                "quality": {**means([quality.alone(real) for real in reals]), "mel_l1_without_lines": own},
                "lines": measure_recordings(pairs, self.corpus.sample_rate, shape.hop_length, shape.strides),
            }

        return self._once("recordings", self._held_out(), find)

    def speeds(self, phases: Sequence[Phase], rounds: int) -> dict[str, dict[str, Any]]:
        """Return what each variant costs (see `measure_speeds`), on a machine that should do nothing else meanwhile.

        To measure again, remove ``out/measured/speeds.json``.
        """
        settings: dict[str, Settings] = {}
        for phase in phases:
            if phase.variant.name not in settings:
                settings[phase.variant.name] = phase.open(self.out).options
        fabric = make_fabric(next(iter(settings.values())))
        machine = {"device": str(fabric.device), "machine": platform.platform(), "threads": torch.get_num_threads()}
        made_with = {"variants": list(settings), "rounds": rounds, **machine}
        find = lambda: {"speeds": measure_speeds(settings, fabric, self.corpus.sample_rate, rounds)}  # noqa: E731
        speeds: dict[str, dict[str, Any]] = self._once("speeds", made_with, find)["speeds"]
        return speeds

    def validation_level(self, phase: Phase) -> float | None:
        """Return what the recordings of the validation clips have in all lines together, by chance, in dBFS."""
        run, rate = phase.open(self.out), self.corpus.sample_rate
        pairs = generate_held_out(run.generator, run.mel, self.corpus.valid, rate, VALIDATION_CLIPS)
        if not pairs:
            return None
        tones = measure_tones([real.numpy() for _, real, _ in pairs], rate, run.generator.shape.strides)
        return levels(tones.to_dict())["total_dbfs"]

    def quality(self, phase: Phase) -> Quality:
        """Return the metrics, which keep what they found in recordings."""
        if self._quality is None:
            hop_length = phase.open(self.out).mel.hop_length
            self._quality = Quality(self.corpus.sample_rate, hop_length, self.crepe)
        return self._quality

    def _held_out(self) -> dict[str, Any]:
        return {"clips": self.clips, "recordings": listing_digest(self.corpus.test)}

    def _pairs(self, phase: Phase) -> list[Pair]:
        run = phase.open(self.out)
        torch.manual_seed(phase.seed)  # some add noise
        pairs = generate_held_out(run.generator, run.mel, self.corpus.test, self.corpus.sample_rate, self.clips)
        if not pairs:
            raise ValueError("no held-out clip is usable")
        return pairs

    def _once(self, name: str, made_with: Mapping[str, Any], find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = self.out / "measured" / f"{name}.json"
        if not path.exists() or _read(path)["made_with"] != made_with:
            write_json(path, {"made_with": made_with, **find()})
        return _read(path)


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
