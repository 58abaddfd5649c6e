"""The listening page in a browser: picture and tables, blind trials, names, sizes."""

import re
from pathlib import Path

import pytest
from browser import opened
from listened import HOSTILE, built_once, listing_of, ready
from playwright.sync_api import Page
from scipy.stats import binom
from vocoder.data import safe_name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_once(tmp_path_factory.getbasetemp())


def audible(page: Page) -> int:
    """Return the one track whose gain is not 0."""
    page.wait_for_timeout(80)  # a fade takes 5 ms
    gains = page.evaluate("audioup.player.gains()")
    assert sorted(gains)[-2:] == [0, 1]
    return gains.index(1)


# --- picture and tables ---


def test_harmonics_are_toggled_where_they_lie(folder):
    with opened(folder / "index.html", folder=True) as page:
        ready(page)
        row = """(share) => { const c = document.getElementById("overlay"), y = Math.round(c.height * share);
            let most = 0;
            for (const at of [y - 1, y, y + 1]) {
              const line = c.getContext("2d").getImageData(20, at, c.width - 40, 1).data;
              most = Math.max(most, line.filter((_, i) => i % 4 === 3 && line[i] > 100).length / (c.width - 40));
            }
            return most; }"""
        assert page.evaluate(row, 0.5) < 0.05  # the cursor at most
        page.keyboard.press("h")
        assert page.locator("#harmonics").get_attribute("aria-pressed") == "true"
        assert page.evaluate(row, 0.5) > 0.3  # 4000 Hz: the last stage's, dashed
        assert page.evaluate(row, 0.5 + 1.5 / 32) < 0.05  # 3625 Hz: the first stage's, at the edges only
        page.locator("#stages input").nth(0).uncheck()
        page.wait_for_timeout(100)
        assert page.evaluate(row, 0.5) < 0.05
        page.click("#harmonics")
        assert page.locator("#stages").is_hidden()
        series = page.evaluate("audioup.harmonics([8, 8, 4], 16000)")
        every = sorted(hz for one in series for hz in one["hz"])
        assert every == [62.5 * k for k in range(1, 129)]
        assert [(one["stage"], one["spacing"], len(one["hz"])) for one in series] == [
            (2, 4000, 2),
            (1, 500, 14),
            (0, 62.5, 112),
        ]


def test_the_spectrogram_has_the_levels_of_sines(folder):
    with opened(folder / "index.html", folder=True) as page:
        ready(page)
        found = page.evaluate("""(() => {
            const x = Float32Array.from({length: 8192}, (_, n) => 0.1 * Math.cos(2 * Math.PI * n / 8)
              + 0.001 * Math.cos(Math.PI * n));
            const {levels, columns, bins} = audioup.spectrogram(x, 1024, 256);
            return [columns, bins, levels[16 * bins + 128], levels[16 * bins + 512], levels[16 * bins + 300]]; })()""")
        assert found[:2] == [33, 513]
        assert found[2:4] == pytest.approx([-20, -60], abs=0.01)
        assert found[4] < -140


def test_the_table_shows_what_was_measured(folder):
    listing = listing_of(folder)
    with opened(folder / "index.html", folder=True) as page:
        ready(page)
        page.keyboard.press("2")
        rows = [row.split("\t") for row in page.locator("#tones-rows tr").all_inner_texts()]
        lines = listing["kinds"]["speech"][1]["lines"]
        assert rows[0] == ["transposed", f"{lines['found']} of {lines['of']} found"]
        assert len(lines["strongest"]) == 5
        for row, (hz, level, low, high) in zip(rows[1:], lines["strongest"], strict=False):
            assert [float(row[0]), float(row[1].replace("−", "-"))] == [hz, level]
            assert row[2].replace("−", "-") == f"{low:.1f} to {high:.1f}"
        assert rows[6][0] == "recording"


# --- blind ---


def test_blind_trials_are_counted(folder):
    with opened(folder / "index.html", folder=True) as page:
        ready(page)
        page.select_option("#blind-a", "1")
        page.select_option("#blind-b", "2")
        page.click("#blind-start")
        assert page.locator("#tracks").is_hidden()
        assert page.locator("#picture").is_hidden()
        assert page.locator("#tones").is_hidden()
        assert page.locator("#level").is_hidden()
        right, seen = 0, set()
        for trial in range(1, 13):
            page.keyboard.press("x")
            truth = audible(page)
            seen.add(truth)
            page.keyboard.press("b")
            assert audible(page) == 2
            page.click("#hear-a")
            assert audible(page) == 1
            honest = trial % 4 != 0
            says = truth if honest else 3 - truth
            page.click("#is-a" if says == 1 else "#is-b")
            right += honest
            said = page.inner_text("#blind-result")
            assert said.startswith("Right." if honest else "Wrong.")
            assert f"{right} of {trial} right" in said
            p = float(re.search(r"p = ([\d.e-]+[\d])", said)[1])
            assert p == pytest.approx(binom.sf(right - 1, trial, 0.5), rel=5e-3)
        assert seen == {1, 2}
        page.click("#blind-reset")
        assert page.inner_text("#blind-result") == "No answer yet."
        page.click("#blind-stop")
        assert page.locator("#tracks").is_visible()
        assert audible(page) == 0


def test_switching_sounds_alike_whether_the_track_changes(folder):
    log = """() => {
      const ramp = AudioParam.prototype.linearRampToValueAtTime;
      window.ramps = [];
      AudioParam.prototype.linearRampToValueAtTime = function (value, time) {
        ramps.push([value, Math.round(1000 * (time - audioup.player.context.currentTime))]);
        return ramp.call(this, value, time);
      };
    }"""
    with opened(folder / "index.html", folder=True) as page:
        ready(page)
        page.click("#blind-start")
        page.keyboard.press("a")
        page.evaluate(f"({log})()")
        seen = {}
        for key in ("a", "b"):
            page.evaluate("ramps.length = 0")
            page.keyboard.press(key)
            seen[key] = sorted(page.evaluate("ramps"))
        assert seen["a"] == seen["b"]
        tracks = len(seen["a"]) // 2
        assert [value for value, _ in seen["a"]] == [0] * (2 * tracks - 1) + [1]
        assert all(abs(after - 5) <= 1 or abs(after - 15) <= 1 for _, after in seen["a"])


def test_a_key_that_is_held_answers_once(folder):
    with opened(folder / "index.html", folder=True) as page:
        ready(page)
        page.click("#blind-start")
        page.keyboard.down("1")
        page.keyboard.down("1")  # repeats
        assert " of 1 right" in page.inner_text("#blind-result")


def test_guessing_is_the_binomial_tail(folder):
    with opened(folder / "index.html", folder=True) as page:
        ready(page)
        for done in (0, 1, 2, 7, 16, 40):
            found = page.evaluate("(n) => Array.from({length: n + 1}, (_, right) => audioup.guessing(right, n))", done)
            assert found == pytest.approx([binom.sf(right - 1, done, 0.5) for right in range(done + 1)], rel=1e-12)


def test_the_page_holds_no_trace_of_what_x_is(folder):
    with opened(folder / "index.html", folder=True) as page:
        ready(page)
        page.click("#blind-start")
        seen: dict[int, set[str]] = {}
        for _ in range(16):
            page.click("#blind-reset")
            text = page.evaluate(
                "(document.getElementById('position').textContent = '', document.documentElement.outerHTML)"
            )
            seen.setdefault(audible(page), set()).add(text)
        assert set(seen) == {0, 1}
        assert len(seen[0] | seen[1]) == 1


def test_a_track_is_not_compared_with_itself(folder):
    with opened(folder / "index.html", folder=True) as page:
        ready(page)
        page.select_option("#blind-b", "0")
        page.click("#blind-start")
        assert page.inner_text("#blind-result") == "Choose two different tracks."
        assert page.locator("#tracks").is_visible()


# --- the page ---


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (360, False), (360, True)])
def test_the_page_fits_and_reads(folder, width, dark):
    with opened(folder / "index.html", width=width, dark=dark, folder=True) as page:
        ready(page)
        page.keyboard.press("h")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.click("#blind-start")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        colours = page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
        light = [sum(map(int, colour[4:-1].split(","))) for colour in colours]
        assert (light[0] < light[1]) == dark
        assert abs(light[0] - light[1]) > 450


def test_a_hostile_name_is_only_text(folder):
    with opened(folder / "index.html", folder=True) as page:
        ready(page)
        assert page.locator("#clip option").first.inner_text() == safe_name(HOSTILE)
        assert page.locator("img, [onerror]").count() == 0
        assert f"Spoken by {HOSTILE}" in page.inner_text("footer")


def test_everything_has_a_name_and_injected_scripts_do_not_run(folder):
    with opened(folder / "index.html", folder=True) as page:
        ready(page)
        unnamed = page.evaluate("""[...document.querySelectorAll("button, input, select, meter")].filter((x) =>
            !(x.labels?.length || x.textContent.trim())).map((x) => x.outerHTML)""")
        assert unnamed == []
        assert (
            page.evaluate(
                "[...document.querySelectorAll('*')].some((x) => [...x.attributes].some((a) => "
                "a.name.startsWith('on')))"
            )
            is False
        )
        policy = page.locator("meta[http-equiv]").get_attribute("content")
        assert "unsafe" not in policy
        assert policy.startswith("default-src 'none'; script-src 'sha256-")


def test_the_summary_is_there_without_scripts(folder):
    listing = listing_of(folder)
    with opened(folder / "index.html", folder=True) as page:
        rows = [row.split("\t") for row in page.locator("section:has(#all-title) tr").all_inner_texts()]
        assert rows[0] == ["", "speech", "silence", "sustained notes", "drums", "white noise", "found", "trained"]
        assert [row[0] for row in rows[1:]] == ["recording", "transposed", "ours"]
        for row, one in zip(rows[1:], listing["kinds"]["speech"], strict=True):
            strongest = one["lines"]["strongest"]
            level = float(row[1].removeprefix("< ").replace("−", "-"))
            assert level == (strongest[0][1] if strongest else one["lines"]["bound_dbfs"])
            assert row[6] == f"{one['lines']['found']} of {one['lines']['of']}"
