"""The interactive figure of the listening page agrees with the library."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import opened
from listened import built_once
from torch import nn

from audioup import tone_response
from audioup.interpolation import interpolation_filter
from audioup.overlap import count, operator_matrix, stack


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_once(tmp_path_factory.getbasetemp())


def settings(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    kinds = ("transposed", "nearest", "linear", "subpixel")
    return {
        "kind": kinds[seed % 4],
        "stride": int(rng.integers(1, 7)),
        "kernelSize": int(rng.integers(1, 10)),
        "layers": int(rng.integers(1, 4)),
        "spread": 0.0,
    }


def pairs(chosen: dict[str, Any]) -> list[tuple[int, int]]:
    """Return the layers of a setting as `audioup.overlap.stack` takes them."""
    k, s = chosen["kernelSize"], chosen["stride"]
    one = {"transposed": [(k, s)], "nearest": [(s, s), (k, 1)], "subpixel": [(k * s, s)]}
    return one[chosen["kind"]] * chosen["layers"]


def test_counts_are_those_of_the_library(folder):
    rng = np.random.default_rng(0)
    with opened(folder / "index.html", folder=True) as page:
        for _ in range(60):
            length, k, s = (int(n) for n in rng.integers(1, 14, 3))
            assert page.evaluate("(a) => audioup.count(...a)", [length, k, s]) == count(length, k, s).tolist()
            layers = [(int(a), int(b)) for a, b in rng.integers(1, 6, (rng.integers(1, 4), 2))]
            assert page.evaluate("(a) => audioup.stack(...a)", [length, layers]) == stack(length, layers).tolist()
        for seed in range(40):
            if (chosen := settings(seed))["kind"] != "linear":
                found = page.evaluate("(a) => audioup.response(8, a)", chosen)
                assert found == stack(8, pairs(chosen)).tolist()


def test_matrices_and_lines_are_those_of_the_library(folder):
    with opened(folder / "index.html", folder=True) as page:
        for seed in range(24):
            chosen = settings(seed) | {"layers": 1 + seed % 2}
            k, s = chosen["kernelSize"], chosen["stride"]
            layers: list[nn.Module] = []
            for _ in range(chosen["layers"]):
                taps = [torch.ones(k * s if chosen["kind"] == "subpixel" else k)]
                strides = [s]
                if chosen["kind"] in ("nearest", "linear"):
                    taps = [interpolation_filter(chosen["kind"], s).float(), *taps]
                    strides.append(1)
                for weight, stride in zip(taps, strides, strict=True):
                    layer = nn.ConvTranspose1d(1, 1, len(weight), stride, bias=False)
                    layer.weight.data = weight.view(1, 1, -1)
                    layers.append(layer)
            expected = operator_matrix(nn.Sequential(*layers), 4)
            found = torch.tensor(page.evaluate("(a) => audioup.matrix(4, a)", chosen), dtype=torch.float32)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
            assert torch.equal(found != 0, expected != 0)
            kernel = torch.tensor(page.evaluate("(a) => audioup.composite(a)", chosen), dtype=torch.float64)
            levels = page.evaluate("(a) => audioup.lineLevels(audioup.phaseGains(a))", chosen)
            wanted = tone_response(kernel, s ** chosen["layers"])
            for level, want in zip(levels, wanted.tolist(), strict=True):
                assert level == pytest.approx(want, abs=1e-6) if want > -200 else level < -200


def test_spread_weights_make_lines_but_for_resizing(folder):
    with opened(folder / "index.html", folder=True) as page:
        for kind, sings in {"transposed": True, "subpixel": True, "nearest": False, "linear": False}.items():
            chosen = {"kind": kind, "stride": 4, "kernelSize": 8, "layers": 2, "spread": 0.2, "seed": 5}
            levels = page.evaluate("(a) => audioup.lineLevels(audioup.phaseGains(a))", chosen)
            assert max(levels) > -60 if sings else max(levels) == -math.inf
        weights = page.evaluate(
            "audioup.kernels({kind: 'transposed', stride: 1, kernelSize: 20000, layers: 1, spread: 0.2, seed: 1})[0]"
        )
        assert np.mean(weights) == pytest.approx(1, abs=0.005)
        assert np.std(weights) == pytest.approx(0.2, abs=0.005)


def test_the_figure_follows_its_controls(folder):
    with opened(folder / "index.html", folder=True) as page:
        assert page.inner_text("#gains") == (
            "Inside, a constant 1 becomes 2, 1, which repeats every 2 samples: uneven, from 1 to 2."
        )
        assert page.inner_text("#predicted") == "1 of 1 lines; the strongest: 8000 Hz at −9.5 dB."
        blank = "(id) => document.getElementById(id).toDataURL()"
        before = [page.evaluate(blank, one) for one in ("overlap", "matrix", "lines")]
        page.focus("[name=layers]")
        page.keyboard.press("ArrowRight")
        inside = stack(8, [(3, 2), (3, 2)])[8:12].tolist()
        assert inside == [3, 2, 3, 1]
        gains = page.inner_text("#gains")
        shown = [int(one) for one in re.search(r"becomes ([\d, ]+), which", gains)[1].split(",")]
        assert shown in [inside[n:] + inside[:n] for n in range(4)]
        assert all(
            page.evaluate(blank, one) != was for one, was in zip(("overlap", "matrix", "lines"), before, strict=True)
        )
        for name, most in {"stride": "8", "kernel": "16", "layers": "3", "spread": "0.5"}.items():
            page.locator(f"[name={name}]").fill(most)
        page.select_option("[name=kind]", "subpixel")
        assert page.inner_text("#predicted").startswith("256 of 256 lines; ")
        page.click("#tone")
        assert page.locator("#tone").get_attribute("aria-pressed") == "true"
        page.select_option("[name=kind]", "nearest")
        assert page.inner_text("#predicted") == "No line: every phase has the same gain."
        assert page.locator("#tone").is_disabled()
        assert page.locator("#tone").get_attribute("aria-pressed") == "false"
