"""The sound of the listening page in a browser: it plays and switches in step."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from browser import opened
from listened import PERIOD, built_once, listing_of, ready, tracks_of
from listening.tones import wave
from playwright.sync_api import Page
from sounds import RATE

STEP_S = 0.02  # that a switch may move the sound by
# What is heard, before the volume: the last samples, and where the page says it is. Time is that of the sound since
# the last key or click: on a busy machine a clock on the wall runs ahead of it.
RECORD = """() => {
  const {player} = audioup, {context} = player, analyser = context.createAnalyser();
  analyser.fftSize = 32768;
  player.bus.connect(analyser);
  let since = 0;
  for (const kind of ["keydown", "click"]) addEventListener(kind, () => { since = context.currentTime; }, true);
  window.recordedAfter = (seconds) => {
    if (context.currentTime < since + seconds) return null;
    const samples = new Float32Array(analyser.fftSize);
    analyser.getFloatTimeDomainData(samples);
    return [Array.from(samples), player.position];
  };
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_once(tmp_path_factory.getbasetemp())


def begin(page: Page) -> None:
    """Play, and record what is heard."""
    ready(page)
    page.evaluate(f"({RECORD})()")
    page.click("#play")


def recorded(page: Page, seconds: float) -> tuple[np.ndarray, float]:
    """Return the last sound, so many seconds of it after the last key or click, and where in the loop that was."""
    sound, position = page.wait_for_function("(seconds) => recordedAfter(seconds)", arg=seconds).json_value()
    return np.array(sound), position


def place(piece: np.ndarray, track: np.ndarray) -> tuple[int, float]:
    """Return where in a repeated track a piece of it is, in samples, and their normalised correlation there."""
    again = np.tile(track, 3)
    found = np.fft.irfft(np.fft.rfft(again) * np.conj(np.fft.rfft(piece, len(again))), len(again))
    energy = np.cumsum(np.pad(again**2, (1, 0)))
    norm = np.sqrt(energy[len(piece) :] - energy[: -len(piece)])[: 2 * len(track)]
    alike = found[: 2 * len(track)] / np.maximum(norm, 1e-6) / np.linalg.norm(piece)
    at = int(np.argmax(alike))
    return at % len(track), float(alike[at])


def apart(sample: int, seconds: float, length: int) -> float:
    """Return by how many seconds two places in a loop of so many samples differ."""
    away = (sample / RATE - seconds) % (length / RATE)
    return min(away, length / RATE - away)


def test_the_page_decodes_what_was_written(folder):
    listing = listing_of(folder)
    with opened(folder / "index.html", folder=True) as page:
        ready(page)
        clip = listing["clips"][1]
        page.select_option("#clip", "1")
        ready(page, clip["id"])
        found = page.evaluate("audioup.buffers().map((one) => [one.sampleRate, Array.from(one.getChannelData(0))])")
        for (rate, samples), track in zip(found, tracks_of(folder, clip), strict=True):
            assert rate == RATE
            np.testing.assert_allclose(samples, track, atol=2**-15)  # full scale is 32767 to some, 32768 to others


def test_switching_keeps_the_place_and_changes_the_track(folder):
    clip = listing_of(folder)["clips"][0]
    tracks = tracks_of(folder, clip)
    with opened(folder / "index.html", folder=True) as page:
        begin(page)
        recorded(page, 0.9)
        page.keyboard.press("2")
        sound, position = recorded(page, 0.5)
        at, alike = place(sound[-RATE // 4 :], tracks[1])
        assert alike > 0.999
        assert apart(at + RATE // 4, position, len(tracks[0])) < STEP_S
        # What was heard before the switch lies as far back in the other track, to the sample.
        before = sound[-RATE : -3 * RATE // 4]
        earlier, alike = place(before, tracks[0])
        assert alike > 0.999
        assert (earlier + 3 * RATE // 4) % len(tracks[0]) == at
        assert place(before, tracks[1])[1] < 0.9
        # Nothing is louder than either while it fades.
        assert np.abs(sound).max() <= max(np.abs(track).max() for track in tracks) + 1e-6
        page.click("#tracks button:nth-child(3)")
        sound, position = recorded(page, 0.4)
        at, alike = place(sound[-RATE // 4 :], tracks[2])
        assert alike > 0.999
        assert apart(at + RATE // 4, position, len(tracks[0])) < STEP_S
        assert page.locator("#tracks [aria-pressed=true] .name").all_inner_texts() == ["ours"]


def test_the_tones_alone_are_the_measured_lines(folder):
    listing = listing_of(folder)
    track = next(n for n, one in enumerate(listing["kinds"]["speech"]) if len(one["residual"]["harmonics"]) > 3)
    residual, tracks = listing["kinds"]["speech"][track]["residual"], tracks_of(folder, listing["clips"][0])
    assert len(tracks[0]) % PERIOD == 0
    with opened(folder / "index.html", folder=True) as page:
        begin(page)
        page.keyboard.press(str(track + 1))
        page.keyboard.press("r")
        sound, _ = recorded(page, 2.3)
        sound = sound[-PERIOD * (RATE // PERIOD) :]  # about a second, in whole periods
        lines = 2 * np.abs(np.fft.rfft(sound)) / len(sound)
        expected = np.zeros_like(lines)
        for k, amplitude, _ in residual["harmonics"]:
            expected[k * len(sound) // PERIOD] = amplitude * 10 ** (residual["gain_db"] / 20)
        expected[-1] *= 2  # Nyquist's
        np.testing.assert_allclose(lines, expected, atol=2e-3 * expected.max())
        assert page.locator("#residual").get_attribute("aria-pressed") == "true"
        # They are locked to the track's first sample, as they are in it.
        page.keyboard.press("r")
        sound, _ = recorded(page, 0.5)
        at, alike = place(sound[-RATE // 4 :], tracks[track])
        assert alike > 0.999
        before = sound[-RATE : -3 * RATE // 4]
        alone = np.roll(wave(residual["harmonics"], PERIOD), -(at + RATE // 4 - RATE))
        expected = np.resize(alone, len(before))
        assert before @ expected / np.linalg.norm(before) / np.linalg.norm(expected) > 0.999
        page.keyboard.press("1")
        none = listing["kinds"]["speech"][0]["residual"]["harmonics"] == []
        assert (page.inner_text("#residual-gain") == "no tone found") == none


def test_a_region_loops_and_without_looping_ends(folder):
    with opened(folder / "index.html", folder=True) as page:
        begin(page)
        page.fill("#from", "0.5")
        page.keyboard.press("Tab")
        page.fill("#to", "0.8")
        page.keyboard.press("Tab")
        assert page.evaluate("audioup.player.region") == [0.5, 0.8]
        places = []
        for _ in range(12):
            page.wait_for_timeout(60)
            places.append(page.evaluate("audioup.player.position"))
        assert all(0.5 <= at <= 0.8 for at in places)
        assert any(late < early for early, late in itertools.pairwise(places))
        sound, position = recorded(page, 1)
        part = tracks_of(folder, listing_of(folder)["clips"][0])[0][RATE // 2 : 8 * RATE // 10]
        at, alike = place(sound[-len(part) :], part)
        assert alike > 0.999
        assert apart(at, position - 0.5, len(part)) < STEP_S
        page.uncheck("#loop")
        page.wait_for_function("() => !audioup.player.playing")
        assert page.locator("#play").inner_text().startswith("Play")
        page.fill("#to", "0.2")  # before the beginning: refused
        page.keyboard.press("Tab")
        assert page.input_value("#to") == "0.80"


def test_dragging_makes_a_region_and_a_click_moves(folder):
    with opened(folder / "index.html", folder=True) as page:
        ready(page)
        seconds = page.evaluate("audioup.player.seconds")
        page.locator("#overlay").scroll_into_view_if_needed()
        box = page.locator("#overlay").bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60)
        page.mouse.up()
        assert page.evaluate("audioup.player.region") == pytest.approx([0.25 * seconds, 0.5 * seconds], abs=0.01)
        page.mouse.click(box["x"] + box["width"] * 0.4, box["y"] + 50)
        assert page.evaluate("audioup.player.position") == pytest.approx(0.4 * seconds, abs=0.01)
        page.click("#whole")
        assert page.evaluate("audioup.player.region") == [0, seconds]


def test_keys(folder):
    with opened(folder / "index.html", folder=True) as page:
        begin(page)
        page.keyboard.press("Space")
        assert page.evaluate("audioup.player.playing") is False
        here = page.evaluate("audioup.player.position")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("audioup.player.position") == pytest.approx(here + 0.5, abs=0.01)
        page.keyboard.press("3")
        assert page.evaluate("audioup.state.track") == 2
        page.keyboard.press("9")  # no such track
        page.keyboard.press("Shift+Digit1")
        assert page.evaluate("audioup.state.track") == 2
        page.focus("#from")
        page.keyboard.press("2")  # typed, not chosen
        assert page.evaluate("audioup.state.track") == 2
        page.focus("#tracks button:nth-child(2)")
        page.keyboard.press("Space")  # presses what has the focus
        assert page.evaluate("[audioup.state.track, audioup.player.playing]") == [1, False]


def test_volume_and_level(folder):
    with opened(folder / "index.html", folder=True) as page:
        begin(page)
        page.wait_for_timeout(500)
        found = page.evaluate("(() => { const x = new Float32Array(2048); x.fill(0.1); return audioup.meter(x); })()")
        assert found == pytest.approx({"rms": -20.0, "peak": -20.0}, abs=1e-4)
        page.locator("#volume").fill("-20")
        page.wait_for_timeout(100)
        assert page.evaluate("audioup.player.output.gain.value") == pytest.approx(0.1, rel=1e-4)
        assert page.inner_text("#volume-value") == "−20 dB"
        assert re.fullmatch(r"−?[\d.]+ dBFS RMS, peak −?[\d.]+", page.inner_text("#level-value"))
