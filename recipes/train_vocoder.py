"""Train a small HiFi-GAN vocoder with the upsampler of your choice, then listen to it and measure its stride tones.

With no options: speech is synthesised by eSpeak NG, a tiny generator is trained for a few minutes on two CPU cores, and
``runs/NAME/`` gets the sound, the spectrograms and the report.

    python recipes/train_vocoder.py
    python recipes/train_vocoder.py --upsampler resize-nearest --data path/to/recordings --steps 2000
"""

import dataclasses
import json
import math
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from lightning_fabric import Fabric
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from vocoder.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from vocoder.data import Corpus, open_corpus
from vocoder.discriminators import Discriminators
from vocoder.losses import (
    ADVERSARIAL_WEIGHT,
    FEATURE_WEIGHT,
    MEL_WEIGHT,
    STFT_WEIGHT,
    ReconstructionLoss,
    adversarial_loss,
    discriminator_loss,
    feature_loss,
)
from vocoder.mel import input_mel
from vocoder.model import Generator
from vocoder.presets import PRESETS
from vocoder.report import format_report, generate_held_out, write_report
from vocoder.segments import Segments

from audioup import measure_tones

# What may differ between the parts of one run; everything else decides the weights.
FREE_TO_CHANGE = {"resume", "steps", "save_every", "validate_every", "test_clips", "workers", "out"}


@dataclasses.dataclass(frozen=True)
class Options:
    """Train a small HiFi-GAN vocoder, then listen to it and measure its stride tones."""

    name: str = "vocoder"
    """The run's results go to OUT/NAME."""
    data: str = "espeak"
    """espeak (synthesised on the spot), ljspeech, vctk, libritts (downloaded), or a folder of recordings."""
    upsampler: Literal["transposed", "subpixel", "resize-nearest", "resize-linear", "resize-sinc"] = "transposed"
    """The layer of every upsampling stage."""
    preset: Literal["auto", "tiny", "v3", "v2", "v1"] = "auto"
    """Sizes: tiny trains in minutes on a CPU; v1, v2, v3 are HiFi-GAN's. auto is tiny on a CPU, v3 on a GPU."""
    steps: int | None = None
    """Generator steps in all; by default the preset's."""
    warmup_steps: int | None = None
    """Steps without discriminators at the start; by default the preset's. As many as steps: no adversarial part."""
    batch_size: int | None = None
    """Segments a step, in each process; by default the preset's."""
    segment_size: int = 8192
    """Samples a segment."""
    learning_rate: float | None = None
    """AdamW's, at the start; by default the preset's."""
    noise: float = 0.1
    """Standard deviation, at the start, of the noise that excites every stage; 0 is HiFi-GAN as published."""
    seed: int = 1234
    """Decides weights, data order and noise."""
    sample_rate: int | None = None
    """In Hz; by default the commonest among the recordings. Others are resampled."""
    save_every: int = 250
    """Steps between checkpoints."""
    validate_every: int = 250
    """Steps between validations: sound, mel L1 and tone levels to TensorBoard."""
    test_clips: int = 16
    """Held-out clips to generate and to measure at the end."""
    resume: bool = False
    """Continue OUT/NAME from its newest checkpoint."""
    out: Path = Path("runs")
    """Folder of all runs."""
    cache: Path = Path("~/.cache/audioup")
    """Folder of synthesised and downloaded speech."""
    accelerator: str = "auto"
    """cpu, cuda, ...: see Lightning Fabric."""
    devices: int = 1
    """Processes, or GPUs."""
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """auto is bf16-mixed on CUDA and 32-true elsewhere."""
    workers: int = 0
    """Processes that read ahead; worthwhile when recordings do not fit into memory."""


def resolve(options: Options, device: torch.device) -> Options:
    """Fill in what is left to the preset and the device, and check the numbers."""
    name = options.preset if options.preset != "auto" else ("v3" if device.type == "cuda" else "tiny")
    preset = PRESETS[name]
    defaults = {
        "steps": preset.steps,
        "warmup_steps": preset.warmup_steps,
        "batch_size": preset.batch_size,
        "learning_rate": preset.learning_rate,
    }
    unset = {key: value for key, value in defaults.items() if getattr(options, key) is None}
    options = dataclasses.replace(options, preset=name, **unset)  # type: ignore[arg-type]
    for key in ("steps", "batch_size", "segment_size", "save_every", "validate_every", "test_clips", "devices"):
        if getattr(options, key) < 1:
            raise ValueError(f"--{key.replace('_', '-')} must be at least 1, got {getattr(options, key)}")
    for key in ("warmup_steps", "learning_rate", "noise", "seed", "workers"):
        if getattr(options, key) < 0:
            raise ValueError(f"--{key.replace('_', '-')} must not be negative, got {getattr(options, key)}")
    if options.segment_size % preset.generator.hop_length:
        raise ValueError(
            f"--segment-size must be a multiple of the hop length, {preset.generator.hop_length}, "
            f"got {options.segment_size}"
        )
    if not options.name or Path(options.name).name != options.name:
        raise ValueError(f"--name must be a plain folder name, got {options.name!r}")
    return options


def prepare_folder(options: Options) -> Path:
    """Make the run's folder, or check that the one there is the run to be continued."""
    folder = options.out / options.name
    config = folder / "config.json"
    wanted = {key: value for key, value in plain(options).items() if key not in FREE_TO_CHANGE}
    if options.resume:
        if not config.exists():
            raise ValueError(f"--resume: {folder} holds no run")
        saved = json.loads(config.read_text(encoding="utf-8"))["options"]
        different = [
            f"{key}: {saved.get(key)!r} then, {value!r} now" for key, value in wanted.items() if saved.get(key) != value
        ]
        if different:
            raise ValueError(f"--resume: {folder} was begun with other options ({'; '.join(different)})")
    elif config.exists():
        raise ValueError(f"{folder} holds a run already: --resume continues it, --name NAME begins another")
    folder.mkdir(parents=True, exist_ok=True)
    versions = {name: version(name) for name in ("audioup", "torch", "torchaudio", "lightning-fabric", "numpy")}
    content = {"options": plain(options), "versions": {"python": platform.python_version(), **versions}}
    config.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return folder


def plain(options: Options) -> dict[str, Any]:
    """Return the options as values that JSON can hold."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in dataclasses.asdict(options).items()}


class Trainer:
    """Two networks, their optimizers and losses, and the step that trains them."""

    def __init__(self, options: Options, fabric: Fabric, sample_rate: int) -> None:
        self.preset = preset = PRESETS[options.preset]
        self.options, self.fabric = options, fabric
        self.learning_rate = options.learning_rate or 0.0
        fabric.seed_everything(options.seed, workers=False, verbose=False)
        self.mel = input_mel(sample_rate, preset.generator.hop_length).to(fabric.device)
        self.reconstruction = ReconstructionLoss(sample_rate, preset.generator.hop_length).to(fabric.device)
        self.generator_network = Generator(self.mel.mel.n_mels, preset.generator, options.upsampler, options.noise)
        self.networks: dict[str, torch.nn.Module] = {
            "generator": self.generator_network,
            "discriminators": Discriminators(preset.discriminators),
        }
        self.optimizers = {
            name: torch.optim.AdamW(network.parameters(), self.learning_rate, betas=(0.8, 0.99))
            for name, network in self.networks.items()
        }
        self.step = 0

    def resume(self, path: Path) -> None:
        """Restore weights, optimizers and the step; noise and data order follow from the step."""
        self.step, weights, optimizers = load_checkpoint(path, tuple(self.networks))
        for name, network in self.networks.items():
            network.load_state_dict(weights[name])
            self.optimizers[name].load_state_dict(optimizers[name])

    def save(self, folder: Path) -> None:
        """Write a checkpoint."""
        weights = {name: network.state_dict() for name, network in self.networks.items()}
        optimizers = {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        save_checkpoint(folder, self.step, weights, optimizers)

    def wrap(self) -> None:
        """Hand both networks to Fabric: device, precision, gradients averaged over processes."""
        wrapped = {name: self.fabric.setup(network, self.optimizers[name]) for name, network in self.networks.items()}
        self.generator, self.generator_optimizer = wrapped["generator"]
        self.discriminators, self.discriminator_optimizer = wrapped["discriminators"]

    def train_step(self, audio: torch.Tensor) -> dict[str, float]:
        """Take one step on ``audio`` of shape ``(batch, segment_size)``; return the losses."""
        # Noise is a function of seed, process and step, so a resumed run hears the same.
        torch.manual_seed((self.options.seed * 1_000_003 + self.step) * 1024 + self.fabric.global_rank)
        real = audio.unsqueeze(1)
        generated = self.generator(self.mel(audio)).float()
        losses: dict[str, torch.Tensor] = {}
        adversarial = self.step >= (self.options.warmup_steps or 0)
        if adversarial:
            losses["discriminator"] = discriminator_loss(*self.discriminators(real, generated.detach()))
            self._update("discriminator", losses["discriminator"])
        losses["mel"], losses["stft"] = self.reconstruction(generated, real)
        total = MEL_WEIGHT * losses["mel"] + STFT_WEIGHT * losses["stft"]
        if adversarial:
            # The discriminators only pass gradients on here; their own are neither wanted nor shared.
            self.discriminators.requires_grad_(False)
            with self.fabric.no_backward_sync(self.discriminators):
                of_real, of_generated = self.discriminators(real, generated)
            self.discriminators.requires_grad_(True)
            losses["adversarial"] = adversarial_loss(of_generated)
            losses["feature"] = feature_loss(of_real, of_generated)
            total = total + ADVERSARIAL_WEIGHT * losses["adversarial"] + FEATURE_WEIGHT * losses["feature"]
        self._update("generator", total)
        self.step += 1
        values = dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True))
        if not all(map(math.isfinite, values.values())):
            raise FloatingPointError(
                f"a loss is not finite at step {self.step}: {values}; the last checkpoint is unharmed"
            )
        return values

    def _update(self, name: str, loss: torch.Tensor) -> None:
        network = self.generator if name == "generator" else self.discriminators
        optimizer = self.generator_optimizer if name == "generator" else self.discriminator_optimizer
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate * 0.5 ** (self.step / self.preset.halving_steps)
        optimizer.zero_grad()
        self.fabric.backward(loss)
        self.fabric.clip_gradients(network, optimizer, max_norm=self.preset.clip_norm)
        optimizer.step()


def validate(trainer: Trainer, corpus: Corpus, writer: SummaryWriter) -> None:
    """Write held-out sound, its mel L1 and the levels of its stride tones to TensorBoard."""
    generator, mel, rate = trainer.generator_network, trainer.mel, corpus.sample_rate
    held_out = generate_held_out(generator, mel, corpus.valid, rate, most=4)
    if not held_out:
        return
    log_mel = mel.to("cpu")
    distance = [float((log_mel(g) - log_mel(r)).abs().mean()) for _, r, g in held_out]
    mel.to(trainer.fabric.device)
    writer.add_scalar("validation/mel_l1", sum(distance) / len(distance), trainer.step)
    tones = measure_tones([g.numpy() for _, _, g in held_out], rate, generator.shape.strides)
    for line in tones.lines:
        if line.detected:
            writer.add_scalar(f"tones_dbfs/{line.frequency_hz:.1f}_hz", line.level_dbfs, trainer.step)
    strongest = tones.strongest
    writer.add_scalar("validation/tones_detected", sum(line.detected for line in tones.lines), trainer.step)
    if strongest:
        writer.add_scalar("validation/strongest_tone_dbfs", strongest.level_dbfs, trainer.step)
    writer.add_audio("generated", held_out[0][2].unsqueeze(0), trainer.step, rate)
    writer.add_audio("reference", held_out[0][1].unsqueeze(0), trainer.step, rate)


def train(trainer: Trainer, corpus: Corpus, folder: Path) -> float:
    """Train from the trainer's step to the last, with checkpoints and validations; return the seconds it took."""
    options, fabric = trainer.options, trainer.fabric
    steps = options.steps or 0
    segments = Segments(
        corpus.train,
        corpus.sample_rate,
        options.segment_size,
        options.batch_size or 0,
        steps,
        options.seed,
        fabric.global_rank,
        fabric.world_size,
    )
    batches = DataLoader(segments, batch_size=None, sampler=range(trainer.step, steps), num_workers=options.workers)
    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=trainer.step) if fabric.is_global_zero else None
    start = time.perf_counter()
    with tqdm(total=steps, initial=trainer.step, unit="step", desc=options.name, disable=writer is None) as bar:
        for batch in batches:
            losses = trainer.train_step(batch.to(fabric.device))
            bar.set_postfix({name: f"{value:.2f}" for name, value in losses.items()}, refresh=False)
            bar.update()
            if writer is None:
                continue
            for name, value in losses.items():
                writer.add_scalar(f"loss/{name}", value, trainer.step)
            if trainer.step % options.validate_every == 0 or trainer.step == steps:
                validate(trainer, corpus, writer)
            if trainer.step % options.save_every == 0 or trainer.step == steps:
                trainer.save(folder / "checkpoints")
    if writer is not None:
        writer.close()
    return time.perf_counter() - start


def run(options: Options) -> None:
    """Train, generate, measure and report."""
    on_cuda = options.accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available()
    precision = options.precision if options.precision != "auto" else ("bf16-mixed" if on_cuda else "32-true")
    strategy = "ddp" if options.devices > 1 else "auto"
    fabric = Fabric(accelerator=options.accelerator, devices=options.devices, strategy=strategy, precision=precision)
    options = resolve(options, fabric.device)
    # The first process checks everything and speaks the corpus before the others exist; they find it done.
    first = os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"
    corpus = open_corpus(options.data, options.sample_rate, options.cache)
    folder = prepare_folder(options) if first else options.out / options.name
    fabric.launch()
    if fabric.is_global_zero:
        print(
            f"{options.data}: {len(corpus.train)} clips to train on, {len(corpus.valid)} to validate, "
            f"{len(corpus.test)} to test, {corpus.sample_rate} Hz; {len(corpus.skipped)} files skipped"
        )
        for path, reason in corpus.skipped:
            print(f"skipped {path}: {reason}")
    trainer = Trainer(options, fabric, corpus.sample_rate)
    saved = checkpoints(folder / "checkpoints")
    if options.resume and saved:
        trainer.resume(saved[-1])
    trainer.wrap()
    seconds = train(trainer, corpus, folder)
    if fabric.is_global_zero:
        torch.manual_seed(options.seed)
        details = {
            **{key: value for key, value in plain(options).items() if key not in ("resume", "out", "cache")},
            "clips": {"train": len(corpus.train), "valid": len(corpus.valid), "test": len(corpus.test)},
            "skipped": len(corpus.skipped),
            "training_s": seconds,
            "device": str(fabric.device),
            "threads": torch.get_num_threads(),
        }
        report = write_report(trainer.generator_network, trainer.mel, corpus, folder, options.test_clips, details)
        print(format_report(report))
        print(f"listen: {folder / 'audio'}   look: {folder / 'pictures'}   numbers: {folder / 'report.json'}")
    fabric.barrier()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 2 bad input, 130 interrupted."""
    options = tyro.cli(Options, args=arguments)
    try:
        run(options)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"train_vocoder: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"train_vocoder: interrupted; --resume continues {options.out / options.name}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
