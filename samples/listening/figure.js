// The interactive figure: overlap, operator matrix and lines of layers that the reader sets up.

const FRAMES = 8, CONSTANT_DBFS = -20, MOST_BARS = 160, LOUDEST = 0.5, LOWEST_DB = -100;
const KINDS = {
  transposed: "transposed convolution",
  nearest: "nearest-neighbour resize, then convolution",
  linear: "linear resize, then convolution",
  subpixel: "sub-pixel convolution",
};

function setUpFigure() {
  const form = element("figure-form");
  let seed = 1, playing = null;

  const settings = () => ({
    kind: form.elements.kind.value,
    stride: Number(form.elements.stride.value),
    kernelSize: Number(form.elements.kernel.value),
    layers: Number(form.elements.layers.value),
    spread: Number(form.elements.spread.value),
    seed,
  });
  const rate = () => Number(form.elements.rate.value);

  function draw() {
    const chosen = settings(), gains = phaseGains(chosen), levels = lineLevels(gains), period = gains.length;
    for (const name of ["stride", "kernel", "layers", "spread"]) {
      element(`${name}-value`).textContent = form.elements[name].value;
    }
    form.elements.again.disabled = chosen.spread === 0;
    drawBars(element("overlap"), response(FRAMES, chosen), period);
    drawMatrix(element("matrix"), matrix(FRAMES, chosen), period);
    drawLines(element("lines"), levels, period);
    describe(chosen, gains, levels);
    if (playing) hear();
  }

  function describe(chosen, gains, levels) {
    const period = gains.length, shown = gains.slice(0, 12).map(whole).join(", ") + (period > 12 ? ", …" : "");
    const found = levels.map((level, i) => [level, (i + 1) * rate() / period]).filter(([level]) => level > -Infinity);
    const least = Math.min(...gains), most = Math.max(...gains);
    element("gains").textContent = `Inside, a constant 1 becomes ${shown}` +
      (period > 1 ? `, which repeats every ${period} samples` : "") +
      (found.length ? `: uneven, from ${whole(least)} to ${whole(most)}.` : ": even.");
    const strongest = [...found].sort((a, b) => b[0] - a[0]).slice(0, 5);
    element("tone").disabled = found.length === 0;
    element("predicted").textContent = found.length === 0 ? "No line: every phase has the same gain." :
      `${found.length} of ${levels.length} lines; the strongest: ` +
      strongest.map(([level, hz]) => `${hz.toFixed(hz % 1 ? 1 : 0)} Hz at ${decibels(level)} dB`).join(", ") + ".";
    const { gainDb } = wave(gains);
    element("tone-gain").textContent = found.length === 0 ? "" :
      `Heard beside a constant at ${decibels(CONSTANT_DBFS)} dBFS` + (gainDb < 0 ? `, lowered by ${(-gainDb).toFixed(1)} dB.` : ".");
    if (found.length === 0) silence();
  }

  /** The response without its mean, for a constant at CONSTANT_DBFS, lowered where it would be too loud. */
  function wave(gains) {
    const mean = gains.reduce((sum, g) => sum + g, 0) / gains.length;
    const sound = gains.map((g) => 10 ** (CONSTANT_DBFS / 20) * (g / mean - 1));
    const gain = Math.min(1, LOUDEST / Math.max(...sound.map(Math.abs)));
    return { sound: sound.map((x) => gain * x), gainDb: 20 * Math.log10(gain) };
  }

  function hear() {
    silence();
    const { sound } = wave(phaseGains(settings()));
    const context = new AudioContext({ sampleRate: rate() });  // at its own rate, so that nothing is resampled first
    const buffer = context.createBuffer(1, sound.length * Math.ceil(rate() / sound.length), rate());
    buffer.getChannelData(0).forEach((_, n, samples) => { samples[n] = sound[n % sound.length]; });
    const source = context.createBufferSource(), gain = context.createGain();
    [source.buffer, source.loop] = [buffer, true];
    source.connect(gain).connect(context.destination);
    gain.gain.setValueAtTime(0, context.currentTime);
    gain.gain.linearRampToValueAtTime(1, context.currentTime + 0.02);
    source.start();
    playing = { context, gain };
    element("tone").setAttribute("aria-pressed", "true");
  }

  function silence() {
    if (!playing) return;
    const { context, gain } = playing;
    playing = null;
    gain.gain.setValueAtTime(1, context.currentTime);
    gain.gain.linearRampToValueAtTime(0, context.currentTime + 0.02);
    setTimeout(() => context.close(), 60);
    element("tone").setAttribute("aria-pressed", "false");
  }

  form.addEventListener("input", draw);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.elements.again.addEventListener("click", () => {
    seed += 1;
    draw();
  });
  element("tone").addEventListener("click", () => playing ? silence() : hear());
  redrawn(draw);
  return { silence };
}

/** A number without rounding's last digits. */
function whole(x) {
  return Math.abs(x - Math.round(x)) < 1e-9 ? String(Math.round(x)) : x.toFixed(2);
}

/** Draw a signal, or of a long one `MOST_BARS` samples from the middle, from a whole period on. */
function drawBars(canvas, signal, period) {
  const start = Math.floor(Math.max(0, signal.length - MOST_BARS) / 2 / period) * period;
  const values = signal.slice(start, start + MOST_BARS);
  const { context, width, height, ink, soft, mark } = blank(canvas);
  const most = Math.max(...values, 0), least = Math.min(...values, 0), room = height - 34;
  const y = (value) => 16 + room * (most - value) / (most - least || 1), wide = width / values.length;
  values.forEach((value, n) => {
    context.fillStyle = mark;
    context.fillRect(n * wide, Math.min(y(value), y(0)), Math.max(wide - (wide > 4 ? 1 : 0), 0.5), Math.abs(y(0) - y(value)));
    if (wide > 14) {
      context.fillStyle = ink;
      context.textAlign = "center";
      context.fillText(Math.abs(value - Math.round(value)) < 1e-9 ? Math.round(value) : value.toFixed(1), (n + 0.5) * wide, Math.min(y(value), y(0)) - 3);
    }
  });
  context.fillStyle = soft;
  context.textAlign = "left";
  const cut = values.length < signal.length ? ` ${start} to ${start + values.length - 1} of ${signal.length}` : "";
  context.fillText(`output samples${cut}`, 0, height - 4);
}

function drawMatrix(canvas, rows, period) {
  const { context, width, height, soft, mark, faint } = blank(canvas);
  const columns = rows[0].length, shown = Math.min(rows.length, Math.max(MOST_BARS, 3 * period)), room = height - 18;
  const wide = width / shown, high = room / columns, most = rows.flat().reduce((top, x) => Math.max(top, Math.abs(x)), 0);
  context.fillStyle = faint;
  context.fillRect(0, 0, width, room);
  context.fillStyle = mark;
  for (let n = 0; n < shown; n++) {
    for (let m = 0; m < columns; m++) {
      if (rows[n][m] === 0) continue;
      context.globalAlpha = 0.15 + 0.85 * Math.abs(rows[n][m]) / most;
      context.fillRect(n * wide, m * high, Math.max(wide - (wide > 4 ? 1 : 0), 0.7), high - 1);
    }
  }
  context.globalAlpha = 1;
  context.fillStyle = soft;
  const cut = shown < rows.length ? ` (the first ${shown} of ${rows.length})` : "";
  context.fillText(`output samples${cut} across, ${columns} input samples down`, 0, height - 4);
}

function drawLines(canvas, levels, period) {
  const { context, width, height, ink, soft, mark, faint } = blank(canvas);
  const room = height - 20, y = (level) => 4 + (room - 4) * level / LOWEST_DB;
  const rate = Number(element("figure-form").elements.rate.value);
  context.textAlign = "right";
  for (let level = 0; level >= LOWEST_DB; level -= 20) {
    context.fillStyle = faint;
    context.fillRect(34, y(level), width - 34, 1);
    context.fillStyle = soft;
    context.fillText(decibels(level, 0), 30, y(level) + 4);
  }
  context.textAlign = "left";
  context.fillText("0", 34, height - 5);
  context.textAlign = "right";
  context.fillText(`${rate / 2} Hz`, width - 2, height - 5);
  levels.forEach((level, i) => {
    if (level <= LOWEST_DB) return;
    const x = 34 + (width - 40) * 2 * (i + 1) / period;
    context.fillStyle = mark;
    context.fillRect(x - 1, y(level), levels.length > 100 ? 1 : 2.5, room - y(level));
  });
  context.fillStyle = ink;
  context.fillRect(34, room, width - 34, 1);
}
