"""Pictures: what is drawn stands where the numbers say."""

import warnings

import matplotlib.image
import numpy as np
import pytest

import audioup.plot
from audioup import measure_tones
from audioup.plot import Panel, plot_tones

RATE = 16000


def sound(*tones, seconds=2.0, rate=RATE, noise=0.003):
    """Draw noise with sines given as (frequency in Hz, amplitude)."""
    n = np.arange(round(seconds * rate))
    x = noise * np.random.default_rng(0).standard_normal(len(n))
    return x + sum(amplitude * np.sin(2 * np.pi * frequency_hz / rate * n) for frequency_hz, amplitude in tones)


def panel(x, strides=(8,), title="sound", rate=RATE):
    return Panel(title, x, measure_tones(x, rate, strides))


def red(path):
    """Return the rows and columns of pure red pixels, and the picture's shape; rows count from the top."""
    picture = matplotlib.image.imread(path)
    rows, columns = np.nonzero((picture[..., 0] > 0.95) & (picture[..., 1:3] < 0.05).all(-1))
    return rows, columns, picture.shape


def draw(path, *panels):
    plot_tones(panels, path)
    return red(path)


def test_only_detected_lines_are_red(tmp_path):
    rows, _, _ = draw(tmp_path / "clean.png", panel(sound()))
    assert len(rows) == 0
    rows, _, _ = draw(tmp_path / "tone.png", panel(sound((2000, 0.02))))
    assert len(rows) > 20


def left_marks(path, *panels):
    """Return the rows that hold a red mark in the spectrogram, and the first and last column of the marks."""
    rows, columns, shape = draw(path, *panels)
    inside = columns < 0.72 * shape[1]
    return np.unique(rows[inside]), columns[inside].min(), columns[inside].max()


def test_marks_stand_at_their_frequency(tmp_path):
    height = {}
    for frequency_hz in (2000, 4000, 6000):
        rows, _, _ = left_marks(tmp_path / "mark.png", panel(sound((frequency_hz, 0.02))))
        assert np.ptp(rows) <= 3
        height[frequency_hz] = rows.mean()
    # The axis is linear, upwards: 2 kHz are a quarter of it, and it takes most of the picture's 462 rows.
    assert height[2000] - height[4000] == pytest.approx(height[4000] - height[6000], abs=1.5)
    assert 80 < height[2000] - height[4000] < 462 / 4


def test_marks_leave_the_spectrogram_free_to_be_seen(tmp_path):
    path = tmp_path / "mark.png"
    rows, first, last = left_marks(path, panel(sound((2000, 0.02))))
    picture = matplotlib.image.imread(path)
    row = picture[rows[len(rows) // 2], first : last + 1]
    marked = (row[:, 0] > 0.95) & (row[:, 1:3] < 0.05).all(-1)
    assert 0.01 < marked.mean() < 0.05
    assert not marked[len(marked) // 10 : -len(marked) // 10].any()


def test_levels_stand_where_they_were_measured(tmp_path):
    columns = {}
    for level_dbfs in (-20, -40, -60):
        x = sound((4000, 10 ** (level_dbfs / 20)), noise=1e-4)
        rows, at, shape = draw(tmp_path / "level.png", panel(x))
        line_row = np.unique(rows[at < 0.72 * shape[1]]).mean()
        dot = (at > 0.77 * shape[1]) & (abs(rows - line_row) < 4)
        columns[level_dbfs] = at[dot].mean()
    assert columns[-20] - columns[-40] == pytest.approx(columns[-40] - columns[-60], abs=2)
    assert columns[-20] - columns[-40] > 20


def test_legend_hides_no_tone(tmp_path):
    # Nyquist is a harmonic of every even stride, and its level stands in the corner.
    x = sound() + 0.1 * np.cos(np.pi * np.arange(2 * RATE))
    rows, at, shape = draw(tmp_path / "level.png", panel(x, strides=(2,)))
    line_row = np.unique(rows[at < 0.72 * shape[1]]).mean()
    assert np.count_nonzero((at > 0.77 * shape[1]) & (abs(rows - line_row) < 4)) >= 4


@pytest.mark.parametrize(("rate", "amplitude"), [(8000, 0.01), (44100, 1.0)])
def test_spectrogram_shows_a_sine_at_its_level_in_dbfs(tmp_path, monkeypatch, amplitude, rate):
    drawn = {}
    show = audioup.plot.librosa.display.specshow

    def spy(data, **kwargs):
        drawn.update(kwargs, data=data)
        return show(data, **kwargs)

    monkeypatch.setattr(audioup.plot.librosa.display, "specshow", spy)
    bin_hz = rate / 2 ** round(np.log2(0.064 * rate))
    x = sound((40 * bin_hz, amplitude), rate=rate, noise=1e-6)
    plot_tones([panel(x, rate=rate)], tmp_path / "x.png")
    middle = drawn["data"][:, drawn["data"].shape[1] // 2]
    assert middle.argmax() == 40
    assert middle.max() == pytest.approx(20 * np.log10(amplitude), abs=0.01)
    assert 0.045 < drawn["n_fft"] / rate < 0.091
    assert (drawn["sr"], drawn["vmin"], drawn["vmax"]) == (rate, -120, 0)
    # Columns times their hop are the whole sound, so the time axis is right.
    assert drawn["data"].shape[1] * drawn["hop_length"] == pytest.approx(len(x), abs=2 * drawn["hop_length"])


def test_long_sound_is_cut_not_squeezed(tmp_path, monkeypatch):
    shapes = []
    show = audioup.plot.librosa.display.specshow

    def spy(data, **kwargs):
        shapes.append((data.shape[1] - 1) * kwargs["hop_length"] / kwargs["sr"])
        return show(data, **kwargs)

    monkeypatch.setattr(audioup.plot.librosa.display, "specshow", spy)
    plot_tones([panel(sound(seconds=45, rate=4000), rate=4000)], tmp_path / "long.png")
    assert shapes == pytest.approx([30], abs=0.1)


def test_rows_are_the_panels_in_order(tmp_path):
    clean, tone = panel(sound()), panel(sound((2000, 0.02)))
    rows, _, one = draw(tmp_path / "one.png", tone)
    below, _, two = draw(tmp_path / "two.png", clean, tone)
    above, _, _ = draw(tmp_path / "two.png", tone, clean)
    assert two[1] == one[1]
    assert two[0] == pytest.approx(2 * one[0], abs=2)
    assert len(rows) > 20
    assert below.min() > two[0] / 2
    assert above.max() < two[0] / 2


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_suffix_decides_the_format(tmp_path, suffix, start):
    path = tmp_path / f"picture.{suffix}"
    plot_tones([panel(sound((2000, 0.02)))], path)
    assert path.read_bytes().startswith(start)
    assert path.stat().st_size > 10_000


def test_picture_that_cannot_be_written(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        plot_tones([panel(sound())], tmp_path / "nowhere" / "x.png")
    with pytest.raises(ValueError, match="unknown"):
        plot_tones([panel(sound())], tmp_path / "x.unknown")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "x",
    [np.zeros(RATE), sound(seconds=0.04), sound(seconds=0.5), 30 * sound((2000, 0.1))],
    ids=["silence", "shorter than a window", "untestable", "beyond full scale"],
)
def test_every_report_can_be_drawn_without_a_warning(tmp_path, x):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows, _, _ = draw(tmp_path / "x.png", panel(x, title="a_b $c$ %d {0}"))
    assert (len(rows) > 0) == (np.abs(x).max() > 1)


@pytest.mark.parametrize("rate", [8, 50])
def test_slow_sample_rates_can_be_drawn(tmp_path, rate):
    rows, _, _ = draw(tmp_path / "slow.png", panel(sound(seconds=16, rate=rate), rate=rate))
    assert len(rows) == 0
