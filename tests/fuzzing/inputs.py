"""Inputs by number: damaged seeds, damaged cases of the corpus, and damage to what made something new happen."""

import hashlib
import json
from pathlib import Path
from random import Random
from types import ModuleType

from fuzzing.cases import Case, corpus, opened, saved
from fuzzing.mutate import scrambled

GO_ON, GO_BACK = 0.4, 0.1  # of the inputs damage one that was news, or one of the corpus, most of which take longer
MOST_KEPT = 500


class Inputs:
    """Makes input after input. All follow from the seed, the number of the input, and what happened before it.

    Args:
        module: Of a target: makes seeds and damages them.
        target: Its name.
        seed: Of all inputs.
        folder: What was news is kept there, for the next worker.
    """

    def __init__(self, module: ModuleType, target: str, seed: int, folder: Path) -> None:
        self.module, self.target, self.seed, self.folder = module, target, seed, folder
        self.seeds, self.corpus = module.seeds(), list(corpus(target).values())
        self.by_suffix: dict[str, list[Case]] = {}
        for one in (*self.seeds, *self.corpus):
            self.by_suffix.setdefault(Path(one.main).suffix, []).append(one)
        folder.mkdir(exist_ok=True)
        self.kept = [opened(path) for path in sorted(folder.iterdir())]
        self.known = {path.name.rpartition("-")[2] for path in folder.iterdir()}

    def case(self, number: int) -> Case:
        """Return input ``number``."""
        random = Random(f"{self.seed}/{self.target}/{number}")
        kind = random.random()
        pool = self.kept if kind < GO_ON else self.corpus if kind < GO_ON + GO_BACK else self.seeds
        one = random.choice(pool or self.seeds)
        try:
            return self.module.mutated(one, random, random.choice(self.by_suffix[Path(one.main).suffix]))
        except Exception:  # what was damaged before is not always what this damage takes for granted
            name = random.choice(list(one.files))
            return one.replaced(name, scrambled(one.files[name], random))

    def keep(self, number: int, case: Case, end: object) -> bool:
        """Keep an input if none before it came to the same end."""
        name = hashlib.sha256(json.dumps(end).encode()).hexdigest()[:16]
        if name in self.known or len(self.kept) >= MOST_KEPT:
            return False
        self.known.add(name)
        self.kept.append(case)
        saved(case, self.folder / f"{number:09d}-{name}")
        return True
