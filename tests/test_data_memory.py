"""Reading training segments takes no more memory after 2,000 steps than after 500."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from recordings import write

RATE = 22050
PROGRAM = """
import multiprocessing, sys, warnings
from pathlib import Path
from torch.utils.data import DataLoader
from vocoder.data import open_corpus
from vocoder.segments import Segments

def resident_mb():
    pids = ["self", *(child.pid for child in multiprocessing.active_children())]
    rows = [Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0] for pid in pids]
    return sum(map(int, rows)) / 1024

warnings.simplefilter("ignore")
corpus = open_corpus(sys.argv[1], cache=Path(sys.argv[2]))
segments = Segments(corpus.train, corpus.sample_rate, 8192, 4, 2000, seed=0, cache_bytes=4_000_000)
loader = DataLoader(segments, batch_size=None, num_workers=int(sys.argv[3]))
for step, batch in enumerate(loader, 1):
    if step in (1, 500, 1000, 1500, 1990):  # the workers end before the last
        print(resident_mb())
print(len(segments.unreadable))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("workers", [0, 2])
def test_two_thousand_steps_do_not_grow(tmp_path, workers):
    rng = np.random.default_rng(0)
    for i in range(48):  # 17 MB decoded, four times the cache; every eighth is resampled
        rate = 16000 if i % 8 == 0 else RATE
        write(tmp_path / "data" / f"{i}.flac", rng.uniform(-0.5, 0.5, 4 * rate), rate=rate)
    write(tmp_path / "data" / "silent.wav", 0.0, rate=RATE)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "data"), str(tmp_path / "cache"), str(workers)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # pytest knows where the recipes are
    words = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.split()
    *resident_mb, unreadable = map(float, words)
    print(f"{workers} workers: {resident_mb} MB at steps 1, 500, 1000, 1500, 1990")
    assert unreadable == 1
    assert max(resident_mb[2:]) - resident_mb[1] < 16
