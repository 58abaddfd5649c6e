"""One training of the comparison: a variant, a seed, and how far it was trained."""

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load_file, save_file
from training.provenance import commit
from vocoder.checkpoint import drafts, in_one_line
from vocoder.once import train_once
from vocoder.runs import Run, open_run

from comparison.variants import VARIANTS, Variant


@dataclass(frozen=True)
class Phase:
    """A vocoder after the warm-up, or after the adversarial steps that follow it in the same run.

    Attributes:
        variant: What is trained.
        seed: Of the training.
        name: Which of the two.
        steps: Done at its end.
        warmup_steps: Of them without discriminators.
        followed: Whether the training goes on after it.
    """

    variant: Variant
    seed: int
    name: Literal["warm-up", "adversarial"]
    steps: int
    warmup_steps: int
    followed: bool = False

    @property
    def final(self) -> bool:
        """Whether nothing follows in its training."""
        return not self.followed

    @property
    def run(self) -> str:
        """Name of the training that it is part of."""
        return f"{self.variant.name}-{self.seed}"

    @property
    def key(self) -> str:
        """Name of its files."""
        return f"{self.run}-{self.name}"

    def train(self, out: Path, common: Mapping[str, Any], free: Mapping[str, Any]) -> None:
        """Train what is missing, and keep the weights with a word on how they came about.

        Args:
            out: Folder of the comparison; ``out/runs`` gets the training, ``out/kept`` the weights.
            common: Options of `train_vocoder.py` that all variants share.
            free: Options that do not decide the weights.

        Raises:
            ValueError: If what is there was trained with other options, or the training fails.
        """
        weights, card = self.weights(out), self.weights(out).with_suffix(".json")
        given = {
            **common,
            **self.variant.options,
            "steps": self.steps,
            "warmup_steps": self.warmup_steps,
            "seed": self.seed,
        }
        if card.exists():
            then = _read(card)["options"]
            if then != given:
                differing = sorted(key for key in {**then, **given} if then.get(key) != given.get(key))
                raise ValueError(f"{weights} was trained with other options ({', '.join(differing)})")
            return
        folder = out / "runs" / self.run
        report = train_once(folder, given, free)
        details = {"commit": commit()} | {
            key: report[key] for key in ("training_s", "device", "threads", "sample_rate", "clips")
        }
        weights.parent.mkdir(parents=True, exist_ok=True)
        with drafts(weights, card) as (weights_draft, card_draft):  # the card comes last: with it the phase is done
            shutil.copyfile(open_run(folder).checkpoint / "generator.safetensors", weights_draft)
            card_draft.write_text(json.dumps({"options": given, **details}, indent=1) + "\n", encoding="utf-8")

    def weights(self, out: Path) -> Path:
        """Return where its weights are kept."""
        return out / "kept" / f"{self.key}.safetensors"

    def card(self, out: Path) -> dict[str, Any]:
        """Return how they came about."""
        return _read(self.weights(out).with_suffix(".json"))

    def open(self, out: Path) -> Run:
        """Load the run with the weights of this phase.

        Raises:
            ValueError: If they cannot be read.
        """
        run = open_run(out / "runs" / self.run)
        try:
            run.generator.load_state_dict(load_file(self.weights(out)))
        except Exception as error:
            raise ValueError(f"{self.weights(out)} cannot be read: {in_one_line(error)}") from error
        return run

    def digest(self, out: Path) -> str:
        """Return the SHA-256 of its weights."""
        return hashlib.sha256(self.weights(out).read_bytes()).hexdigest()

    def publish(self, out: Path, folder: Path) -> Path:
        """Write the weights in half precision to ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {key: value.half() for key, value in load_file(self.weights(out)).items()}
        path = folder / f"{self.key}.safetensors"
        with drafts(path) as (draft,):
            save_file(tensors, draft, {"options": json.dumps(self.card(out)["options"])})
        return path


def phases_of(names: Sequence[str], seeds: Sequence[int], warmup_steps: int, adversarial_steps: int) -> list[Phase]:
    """List the phases of variants in the order in which they are trained, the adversarial ones at the end."""
    first, second = [], []
    for variant in (VARIANTS[name] for name in names):
        followed = variant.adversarial and adversarial_steps > 0
        for seed in seeds if followed else seeds[:1]:
            first.append(Phase(variant, seed, "warm-up", warmup_steps, warmup_steps, followed))
            if followed:
                second.append(Phase(variant, seed, "adversarial", warmup_steps + adversarial_steps, warmup_steps))
    return first + second


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all; NaN, which it has not, becomes null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with drafts(path) as (draft,):
        draft.write_text(json.dumps(_plain(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
