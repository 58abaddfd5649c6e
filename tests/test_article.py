"""The exact claims of the article, by the functions that the recipe measures them with."""

import math
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import reference
import torch
from article import draw, dream, edges, ganruns, gradients, kernels, overlaps, smooth, style, vocoder_table
from article.claims import CLAIMS
from article.colours import doublings, fit_power, rise
from article.outcome import Context
from article.spectra import high_share, rings
from article.trained import locked_energy, log_ratio

one_thread = reference.one_thread

EXACT = ("overlap-1d", "overlap-2d", "stacked", "damped", "matrices", "subpixel", "padding", "before-training", "audio")


@pytest.mark.parametrize("name", EXACT)
def test_exact_claims_hold_and_draw_their_pictures(name: str, tmp_path: Path) -> None:
    (claim,) = [claim for claim in CLAIMS if claim.name == name]
    outcome = claim.measure(Context(tmp_path), claim.limits)
    assert outcome.holds, outcome.checks
    assert outcome.to_dict()["holds"] is True
    for picture in outcome.pictures:
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


def test_the_table() -> None:
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS) == 20
    for claim in CLAIMS:
        assert claim.title
        assert claim.expected
        assert claim.measure.__doc__


class Limits(Mapping[str, float]):
    """Limits that know which of them have been looked at."""

    def __init__(self, limits: Mapping[str, float]) -> None:
        self.limits, self.read = limits, set[str]()

    def __getitem__(self, name: str) -> float:
        self.read.add(name)
        return self.limits[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.limits)

    def __len__(self) -> int:
        return len(self.limits)


@pytest.fixture(scope="module")
def short_context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return Context(tmp_path_factory.mktemp("article"), quick=True, accelerator="cpu")


@pytest.mark.parametrize("name", [claim.name for claim in CLAIMS])
def test_every_limit_is_looked_at(name: str, short_context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (ganruns, style, dream):
        monkeypatch.setattr(module, "QUICK_STEPS", 1)
    (claim,) = [claim for claim in CLAIMS if claim.name == name]
    limits = Limits(claim.limits)
    claim.measure(short_context, limits)
    assert limits.read == set(claim.limits)


def test_lines_of_stacks() -> None:
    assert overlaps.inside([(3, 2), (3, 2)]).tolist() == [3, 2, 3, 1]
    assert overlaps.lines(torch.tensor([3, 2, 3, 1])).tolist() == pytest.approx([1 / 9, 1 / 3])
    assert overlaps.lines(torch.tensor([2, 1])).tolist() == pytest.approx([1 / 3])


@pytest.mark.parametrize("size", [3, 4])
def test_a_kernel_is_flat_if_and_only_if_its_phases_sum_alike(size: int) -> None:
    assert kernels.misprediction(size, 200) < 1e-9
    flat, uneven = {3: ([1.0, 2.0, 1.0], [1.0, 1.0, 1.0]), 4: ([1.0] * 4, [2.0, 1.0, 2.0, 1.0])}[size]
    assert kernels.line(torch.tensor(flat)) == 0
    assert kernels.line(torch.tensor(uneven)) == pytest.approx(1 / 3)


def test_training_on_photographs_flattens_kernels() -> None:
    before, after = kernels.tones_after_training(3, 150)
    assert before.shape == after.shape == (100,)
    assert before.median() > -6
    assert after.median() < before.median() - 10


def test_matrices_of_the_article() -> None:
    a, b, c = 1.0, 2.0, 4.0
    found = kernels.article_matrices((a, b, c), 6)
    assert found["deconvolution"][4:6, 1:5].tolist() == [[0, b, 0, 0], [0, c, a, 0]]
    assert found["nearest resize"][4:6, 1:5].tolist() == [[a, b + c, 0, 0], [0, a + b, c, 0]]
    wanted = [[a + b / 2, b / 2 + c], [a / 2, a / 2 + b + c / 2, c / 2]]
    rows = found["bilinear resize"][4:6]
    assert sorted([row[row != 0].tolist() for row in rows], key=len) == wanted


def test_padding() -> None:
    outcome = edges.padding(Context(Path()), {"error": 1e-12})
    assert outcome.measured["first three samples"]["zeros"] == pytest.approx([0.6, 0.8, 1.0])
    assert outcome.measured["first three samples"]["reflect"] == pytest.approx([1.0, 1.0, 1.0])


def test_the_gradient_of_all_ones_is_the_overlap() -> None:
    assert gradients.all_ones() == [1, 1] + [2, 1] * 7 + [1]


def test_droop_at_nyquist() -> None:
    found = smooth.droops()
    assert found["nearest"] == pytest.approx([-3.0, -3.7, -3.9], abs=0.05)
    assert found["bspline-2"] == pytest.approx([-6.0, -7.4, -7.7], abs=0.05)


def test_a_linear_layer_doubles_its_lines() -> None:
    assert doublings() == pytest.approx([20 * math.log10(2)] * 3)


def test_the_vocoders_of_the_readme(tmp_path: Path) -> None:
    table = vocoder_table.vocoder_table()
    assert table["transposed"] == {"mel L1": 0.499, "speech": -23.4, "silence": -76.1}
    assert table["resize-nearest"] == {"mel L1": 0.664, "speech": -37.4, "silence": -math.inf}
    (tmp_path / "README.md").write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(ValueError, match="holds no table of vocoders"):
        vocoder_table.vocoder_table(tmp_path / "README.md")


def test_pools() -> None:
    x = torch.zeros(1, 2, 8, 8)
    x[:, :, 4, 4] = 3
    assert gradients.max_pool(x)[0, 0, 2, 2] == 3
    assert gradients.l2_pool(x)[0, 0, 2, 2] == pytest.approx(1.5, abs=1e-5)  # the middle weighs 1 / 4
    assert gradients.l2_pool(x).shape == gradients.max_pool(x).shape == (1, 2, 4, 4)


def test_phase_shares() -> None:
    gradient = torch.zeros(2, 3, 6, 6)
    gradient[0, :, 0::2, 1::2] = 1
    gradient[1, :, 0::2, 1::2] = 1
    gradient[1, :, 1::2, 1::2] = 2
    shares = gradients.phase_shares(gradient)
    assert shares.mean(0).tolist() == pytest.approx([0, 2 / 6, 0, 4 / 6])
    assert shares.mean(0).sum() == pytest.approx(1)


def test_the_interval_of_phases_is_over_networks() -> None:
    ratios = [2.0, 4.0, 8.0]
    shares = torch.tensor([[r / (r + 1), 1 / (r + 1)] for r in ratios], dtype=torch.float64)
    centre, low, high = gradients.phase_ratio(shares)
    assert centre == pytest.approx(4)
    half = 4.302653 * statistics.stdev(map(math.log, ratios)) / math.sqrt(3)  # Student's t of 2 degrees of freedom
    assert (low, high) == (pytest.approx(4 * math.exp(-half)), pytest.approx(4 * math.exp(half)))
    # The phases are those of the mean: a network that prefers another counts against the ratio.
    assert gradients.phase_ratio(torch.tensor([[0.8, 0.2], [0.4, 0.6]]))[0] == pytest.approx(math.sqrt(4 * 2 / 3))


def test_every_critic_counts(short_context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ganruns, "QUICK_STEPS", 1)
    strided = gradients.strided(short_context, {})
    uneven = gradients.concentration(short_context, {"uneven": 1.1})
    for name in gradients.CRITICS.values():
        levels = [row["level_db"] for row in strided.measured["lines"][name]]
        assert len(set(levels)) == len(strided.measured["E2 of the gradients"][name]) == 5
        assert ", ".join(f"{level:.1f}" for level in levels) in strided.summary
        rows = uneven.measured[name]
        assert len(rows["of each network"]) == len(rows["interval of each network over examples"]) == 5
        assert torch.tensor(rows["of each network"]).mean(0).tolist() == pytest.approx(rows["shares"])


def test_spectra_of_known_images() -> None:
    noise = torch.randn(400, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    spectrum = rings(noise)
    assert (spectrum / 32**2).tolist() == pytest.approx([1] * len(spectrum), abs=0.15)
    # Frequencies of at most 8 / 32 along both axes: 17 x 17 bins, one of them the constant.
    assert high_share(noise) == pytest.approx(1 - 288 / 1023, abs=0.01)
    slow = torch.cos(2 * math.pi * torch.arange(32) * 8 / 32).expand(1, 1, 32, 32)
    assert high_share(slow + 5) == pytest.approx(0, abs=1e-9)
    assert high_share(torch.cos(2 * math.pi * torch.arange(32) * 9 / 32).expand(1, 1, 32, 32)) == pytest.approx(1)


def test_what_images_have_in_common() -> None:
    noise = torch.randn(2000, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert locked_energy(noise) < 1e-4
    stripes = torch.cos(math.pi * torch.arange(32.0))
    assert locked_energy(noise + 0.1 * stripes) == pytest.approx(0.01, rel=0.1)
    signs = torch.tensor([1.0, -1.0]).repeat(1000)[:, None, None, None]
    assert locked_energy(noise + 0.1 * signs * stripes) < 1e-4


def test_fits_of_known_relations() -> None:
    distance = torch.logspace(-1, 1, 50, dtype=torch.float64)
    assert fit_power(distance, 3 * distance**0.7) == (pytest.approx(0.7), pytest.approx(1))
    assert rise(torch.arange(1.0, 9), torch.arange(1.0, 9)) == pytest.approx(5)  # 7.5 over 1.5
    ratio, low, high = log_ratio([2.0, 4.0, 8.0], [1.0, 2.0, 4.0])
    assert ratio == pytest.approx(2)
    # Welch's interval of equal variances (log 2)^2 / 3 each and 4 degrees of freedom: t = 2.776.
    half = 2.776445 * math.sqrt(2 / 3) * math.log(2)
    assert (low, high) == (pytest.approx(2 * math.exp(-half)), pytest.approx(2 * math.exp(half)))


def test_a_curve_and_dots_are_drawn(tmp_path: Path) -> None:
    draw.draw_curves({"a 0": [(0, 1), (1, 2)], "a 1": [(0, 2), (1, 3)]}, tmp_path / "c.png", title="t", x="x", y="y")
    draw.draw_dots({"E2": {"a": [0.1, 0.2]}}, tmp_path / "d.png", "t", {"E2": 0.1})
    assert (tmp_path / "c.png").stat().st_size > 5000
    assert (tmp_path / "d.png").stat().st_size > 5000
