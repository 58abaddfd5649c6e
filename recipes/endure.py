"""Kill trainings, fill their disk, run them for long, and see that nothing is lost.

Both training programs, small, in processes of their own: ``runs/endurance/endurance.json`` gets the numbers.

    python recipes/endure.py
    python recipes/endure.py --kills 100 --only kills
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
import tyro
from endurance.disk import check_mounting, fill_at_every_stage
from endurance.kills import kill_at_random
from endurance.memory import watch
from endurance.trainings import clear, gan, vocoder
from tqdm import tqdm
from training.provenance import commit, versions
from vocoder.checkpoint import drafts

from audioup.table import table

NETWORKS = {"train_vocoder": ("generator", "discriminators"), "train_gan": ("generator", "discriminator", "mean")}
MOST_GROWN_MB = 16.0  # in 1,500 steps
SETTLED = 500  # steps after which memory should no longer grow; discriminators are trained before


@dataclass(frozen=True)
class Options:
    """Kill trainings, fill their disk, run them for long, and see that nothing is lost."""

    only: Literal["all", "kills", "disk", "memory"] = "all"
    """What to try."""
    kills: int = 20
    """Of each program, at random moments."""
    kill_steps: int = 24
    """Of a training that is killed."""
    disks: int = 12
    """File systems that are too small, of each program; they take Linux and root: without, --only kills or memory."""
    memory_steps: int = 2000
    """Of the training whose memory is watched; above 700."""
    seed: int = 0
    """Decides when to kill."""
    out: Path = Path("runs/endurance")
    """Folder of the results; what is in it is replaced."""


def recordings(folder: Path) -> Path:
    """Write a few seconds of made-up voices to train on."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for n in range(6):
        seconds = np.arange(16000) / 16000
        voiced = np.sin(2 * np.pi * (120 + 20 * n) * seconds) * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * seconds))
        soundfile.write(folder / f"{n}.wav", 0.2 * voiced + 0.01 * rng.standard_normal(16000), 16000)
    return folder


def try_all(options: Options) -> dict[str, Any]:
    """Run the trials that are asked for, keeping the numbers as they come; return them."""
    marker = options.out / "endurance.json"
    if options.out.exists() and not marker.exists() and any(options.out.iterdir()):
        raise ValueError(f"--out {options.out} holds something else, which would be removed")
    clear(options.out)
    options.out.mkdir(parents=True)
    marker.write_text("{}\n", encoding="utf-8")
    data = recordings(options.out.resolve() / "recordings")
    if options.only in ("all", "disk"):
        check_mounting(options.out / "mounted")  # before the rest has taken its time
    trainings = {"vocoder": vocoder(data, options.kill_steps), "gan": gan(options.kill_steps)}
    found: dict[str, Any] = {"versions": versions(), "commit": commit(), "seed": options.seed}

    def keep() -> None:
        with drafts(marker) as (draft,):
            draft.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    for name, training in trainings.items():
        folder = options.out.resolve() / name
        found[name] = {}
        if options.only in ("all", "kills"):
            with tqdm(total=options.kills, desc=f"{name}, kills", unit="kill") as bar:
                found[name]["kills"] = kill_at_random(
                    training,
                    folder / "kills",
                    options.kills,
                    options.seed,
                    bar.update,
                )
            keep()
        if options.only in ("all", "disk"):
            with tqdm(total=options.disks, desc=f"{name}, full disks", unit="disk") as bar:
                found[name]["disk"] = fill_at_every_stage(
                    training,
                    folder / "disk",
                    options.disks,
                    NETWORKS[training.program],
                    bar.update,
                )
            keep()
    if options.only in ("all", "memory"):
        long = vocoder(data, options.memory_steps, "--warmup-steps", str(SETTLED // 2))
        with tqdm(total=options.memory_steps, desc="vocoder, memory", unit="step") as bar:
            rows = watch(long, options.out.resolve() / "memory" / "run", 100, lambda step: bar.update(step - bar.n))
        settled = [row["megabytes"] for row in rows if row["step"] >= SETTLED]
        found["vocoder"]["memory"] = {"rows": rows, "grown_mb": round(max(settled[1:]) - settled[0], 1)}
        keep()
    return found


def in_words(found: dict[str, Any]) -> str:
    """Lay the numbers out as a table."""
    rows: list[tuple[str, ...]] = [("", "trials", "", "faults")]
    for name in ("vocoder", "gan"):
        if kills := found[name].get("kills"):
            what = f"{kills['while_saving']} while saving; {kills['runs']} runs resumed to their end"
            rows.append((f"{name}, killed", str(kills["kills"]), what, str(len(kills["differences"]))))
        if disk := found[name].get("disk"):
            what = f"{disk['full']} said so in one line; {disk['loaded']} checkpoints left, all read"
            rows.append((f"{name}, disk full", str(disk["trials"]), what, str(len(disk["faults"]))))
        if memory := found[name].get("memory"):
            last = memory["rows"][-1]
            what = f"{last['megabytes']:.0f} MB; grown by {memory['grown_mb']:.1f} MB since step {SETTLED}"
            rows.append((f"{name}, memory", f"{last['step']} steps", what, ""))
    return table(rows)


def faults_in(found: dict[str, Any]) -> list[str]:
    """List what went wrong, in words."""
    lists = [found[name].get(kind, {}) for name in ("vocoder", "gan") for kind in ("kills", "disk")]
    grown = found["vocoder"].get("memory", {}).get("grown_mb", 0.0)
    leaks = [f"memory grew by {grown} MB"] if grown > MOST_GROWN_MB else []
    return leaks + [fault for one in lists for fault in (*one.get("differences", ()), *one.get("faults", ()))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 nothing was lost, 1 something was, 2 bad input."""
    options = tyro.cli(Options, args=arguments)
    try:
        if options.kills < 1 or options.kill_steps < 4 or options.disks < 1 or options.memory_steps <= SETTLED + 200:
            raise ValueError(f"--kills, --disks from 1, --kill-steps from 4, --memory-steps above {SETTLED + 200}")
        found = try_all(options)
    except (ValueError, OSError) as error:
        print(f"endure: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(in_words(found))
    faults = faults_in(found)
    print(*faults, f"numbers: {options.out / 'endurance.json'}", sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
