// The listening part: clips are loaded when they are wanted, tracks switch in step.

const RESIDUAL_S = 2;

function setUpListening(listing, player) {
  const { tracks, clips, kinds, strides, sample_rate: rate } = listing;
  const series = harmonics(strides, rate), state = { clip: null, track: 0, residual: false, harmonics: false, drag: null };
  const shownStages = new Set(series.map(({ stage }) => stage));
  const buttons = [...document.querySelectorAll("#tracks button")], waiting = new Map(), loaded = new Map();
  let buffers = [], drawn = null;

  /** What a data file calls when it has arrived. */
  function arrived(id, sounds) {
    waiting.get(id)?.(sounds);
  }

  async function fetched(clip) {
    if (loaded.has(clip.id)) return loaded.get(clip.id);
    const sounds = await new Promise((resolve, reject) => {
      waiting.set(clip.id, resolve);
      const script = document.createElement("script");
      script.src = clip.file;
      script.onload = () => script.remove();
      script.onerror = () => reject(new Error(`${clip.file} cannot be read`));
      document.head.append(script);
    });
    const decoder = new OfflineAudioContext(1, 1, rate);
    const decoded = await Promise.all(sounds.map((text) =>
      decoder.decodeAudioData(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer)));
    loaded.set(clip.id, decoded);
    return decoded;
  }

  /** The tones of a track alone, once and again: cosines of its detected lines, with their gain. */
  function residualOf(track) {
    const { harmonics: lines, gain_db: gain } = kinds[state.clip.kind][track].residual;
    const period = strides.reduce((product, stride) => product * stride, 1);
    const repeats = Math.ceil(RESIDUAL_S * rate / period);
    const buffer = new AudioBuffer({ length: repeats * period, sampleRate: rate });
    const one = new Float64Array(period);
    for (const [k, amplitude, phase] of lines) {
      for (let n = 0; n < period; n++) one[n] += amplitude * Math.cos(2 * Math.PI * ((k * n) % period) / period + phase);
    }
    const samples = buffer.getChannelData(0), louder = 10 ** (gain / 20);
    for (let n = 0; n < samples.length; n++) samples[n] = louder * one[n % period];
    return buffer;
  }

  async function open(number) {
    const clip = clips[number], playing = player.playing;
    player.load([], 0);
    state.clip = null;
    element("clip").value = String(number);
    element("status").textContent = "Loading …";
    let decoded;
    try {
      decoded = await fetched(clip);
    } catch (error) {
      element("status").textContent = error.message;
      return;
    }
    if (element("clip").value !== String(number)) return;  // another was chosen meanwhile
    state.clip = clip;
    buffers = decoded;
    const residuals = tracks.map((_, n) => residualOf(n));
    player.load([...decoded.map((buffer) => ({ buffer, periodic: false })),
      ...residuals.map((buffer) => ({ buffer, periodic: true }))], decoded[0].duration);
    element("status").textContent = "";
    buttons.forEach((button, n) => { button.querySelector(".gain").textContent = `gain ${signed(clip.gains_db[n])}\u00a0dB`; });
    element("about").textContent = clip.about;
    showRegion();
    choose(Math.min(state.track, tracks.length - 1));
    element("listen").dataset.ready = clip.id;
    if (playing) await player.play();
  }

  function choose(track) {
    state.track = track;
    const { residual } = kinds[state.clip.kind][track];
    const has = residual.harmonics.length > 0;
    player.choose(state.residual ? tracks.length + track : track);
    buttons.forEach((button, n) => pressed(button, n === track));
    pressed(element("residual"), state.residual);
    element("residual-gain").textContent = has
      ? `${residual.harmonics.length} lines, gain ${signed(residual.gain_db)} dB` : "no tone found";
    drawn = null;
    showTones();
    draw();
  }

  function toggleResidual() {
    state.residual = !state.residual;
    choose(state.track);
  }

  function showTones() {
    const rows = (track) => {
      const { strongest, found, of, verdict, bound_dbfs: bound } = kinds[state.clip.kind][track].lines;
      const note = of === 0 ? verdict : found === 0 ? `none of ${of} found; all below ${decibels(bound)} dBFS` : `${found} of ${of} found`;
      const head = made("tr", "");
      const name = made("th", tracks[track].name);
      [name.scope, name.colSpan] = ["rowgroup", 1];
      const cell = made("td", note);
      cell.colSpan = 2;
      head.append(name, cell);
      return [head, ...strongest.map(([hz, level, low, high]) => {
        const row = made("tr", "");
        row.append(made("td", String(hz)), made("td", decibels(level)), made("td", `${decibels(low)} to ${decibels(high)}`));
        return row;
      })];
    };
    const shown = state.track === 0 ? [0] : [state.track, 0];
    element("tones-rows").replaceChildren(...shown.flatMap(rows));
  }

  function draw() {
    if (!state.clip || element("picture").closest("[hidden]")) return;
    const key = `${state.clip.id} ${state.track} ${state.residual}`;
    if (drawn !== key) {
      drawn = key;
      const voice = state.residual ? residualOf(state.track).getChannelData(0) : buffers[state.track].getChannelData(0);
      const length = buffers[0].length;
      paint(element("spectrogram"), state.residual ? Float32Array.from({ length }, (_, n) => voice[n % voice.length]) : voice);
      element("picture-title").textContent = `${tracks[state.track].name}${state.residual ? ", tones alone" : ""}`;
    }
    overlay(element("overlay"), {
      sampleRate: rate,
      series: state.harmonics ? series.filter(({ stage }) => shownStages.has(stage)) : [],
      seconds: player.seconds,
      region: state.drag ?? player.region,
      cursor: player.heard,
    });
  }

  function toggleHarmonics() {
    state.harmonics = !state.harmonics;
    pressed(element("harmonics"), state.harmonics);
    element("stages").hidden = !state.harmonics;
    draw();
  }

  function showRegion() {
    const [from, to] = player.region;
    [element("from").value, element("to").value] = [from.toFixed(2), to.toFixed(2)];
    for (const id of ["from", "to"]) element(id).max = player.seconds.toFixed(2);
  }

  async function setRegion(from, to) {
    const least = 0.05;
    if (Number.isFinite(from) && Number.isFinite(to) && to - from >= least) await player.setRegion(from, to);
    showRegion();
    draw();
  }

  for (const { stage, spacing, hz } of series) {
    const label = made("label", ""), box = document.createElement("input"), sample = made("span", "", "swatch");
    [box.type, box.checked] = ["checkbox", true];
    sample.style.background = STAGES[stage % STAGES.length];
    box.addEventListener("change", () => {
      if (box.checked) shownStages.add(stage);
      else shownStages.delete(stage);
      draw();
    });
    label.append(box, sample, ` stage ${stage + 1} (stride ${strides[stage]}): multiples of ${spacing} Hz, ${hz.length} lines`);
    element("stages").append(label);
  }
  buttons.forEach((button, n) => onClick(button, () => state.clip && choose(n)));
  element("clip").addEventListener("change", () => open(Number(element("clip").value)));
  onClick(element("residual"), () => state.clip && toggleResidual());
  onClick(element("harmonics"), toggleHarmonics);
  setUpDragging(element("overlay"), player, setRegion, (region) => {
    state.drag = region;
    draw();
  });
  for (const id of ["from", "to"]) {
    element(id).addEventListener("change", () => setRegion(element("from").valueAsNumber, element("to").valueAsNumber));
  }
  onClick(element("whole"), () => setRegion(0, player.seconds));
  redrawn(draw);
  return { state, open, choose, toggleResidual, toggleHarmonics, draw, arrived, buffers: () => buffers };
}

/** A drag makes the loop region, a click moves the cursor. */
function setUpDragging(canvas, player, setRegion, show) {
  let from = null;
  const time = (event) => {
    const { left, width } = canvas.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - left) / width, 0), 1) * player.seconds;
  };
  canvas.addEventListener("pointerdown", (event) => {
    from = { at: time(event), x: event.clientX };
    canvas.setPointerCapture(event.pointerId);
  });
  const dragged = (event) => Math.abs(event.clientX - from.x) < 5 ? null : [from.at, time(event)].sort((a, b) => a - b);
  canvas.addEventListener("pointermove", (event) => from && show(dragged(event)));
  canvas.addEventListener("pointercancel", () => {
    from = null;
    show(null);
  });
  canvas.addEventListener("pointerup", async (event) => {
    if (!from) return;
    const region = dragged(event);
    from = null;
    if (region) await setRegion(...region);
    else await player.seek(time(event));
    show(null);
  });
}
