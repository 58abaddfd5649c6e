// Transport, keys, and what the page shows of itself to programs.

const TYPED = "input:not([type=checkbox]):not([type=range]), textarea";

function setUp() {
  const listing = JSON.parse(element("listing").textContent), player = new Player(listing.sample_rate);
  const listening = setUpListening(listing, player), blind = setUpBlind(listing, player, listening);
  const figure = setUpFigure(), samples = new Float32Array(2048);

  async function toggle() {
    if (player.playing) player.stop();
    else await player.play();
    show();
  }

  function show() {
    pressed(element("play"), player.playing);
    element("play").firstChild.textContent = player.playing ? "Pause" : "Play";
  }

  function tick() {
    show();
    element("position").textContent = `${player.heard.toFixed(2)} of ${player.seconds.toFixed(2)} s`;
    if (!blind.active()) {
      listening.draw();
      if (player.playing) player.analyser.getFloatTimeDomainData(samples);
      else samples.fill(0);
      const { rms, peak } = meter(samples);
      element("level").value = Math.max(rms, -90);
      element("level-value").textContent = `${decibels(rms)} dBFS RMS, peak ${decibels(peak)}`;
    }
    requestAnimationFrame(tick);
  }

  onClick(element("play"), toggle);
  element("loop").addEventListener("change", () => player.setLooping(element("loop").checked));
  element("volume").addEventListener("input", () => {
    const level = Number(element("volume").value);
    player.setVolume(level <= -60 ? 0 : 10 ** (level / 20));
    element("volume-value").textContent = level <= -60 ? "off" : `${decibels(level, 0)} dB`;
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest(TYPED)) return;
    if (event.repeat && !event.key.startsWith("Arrow")) return;  // a key that is held answers once
    const onControl = event.target.closest("button, input, summary, a"), digit = /^(?:Digit|Numpad)([0-9])$/.exec(event.code);
    if (event.target.closest("select") && !digit) return;
    if (event.key === " ") {
      if (onControl) return;  // space presses a button that has the focus
      toggle();
    } else if (blind.active()) {
      blind.key(digit ? digit[1] : event.key);
      return;
    } else if (digit && listening.state.clip) {
      const number = (Number(digit[1]) + 9) % 10 + (event.shiftKey ? 10 : 0);
      if (number < listing.tracks.length) listening.choose(number);
    } else if (event.key === "h" || event.key === "H") {
      listening.toggleHarmonics();
    } else if ((event.key === "r" || event.key === "R") && listening.state.clip) {
      listening.toggleResidual();
    } else if ((event.key === "ArrowLeft" || event.key === "ArrowRight") && !event.target.closest("[type=range]")) {
      player.seek(player.position + (event.key === "ArrowLeft" ? -0.5 : 0.5));
    } else return;
    event.preventDefault();
  });

  document.addEventListener("visibilitychange", () => document.hidden && figure.silence());
  window.audioup = Object.freeze({
    arrived: listening.arrived, player, state: listening.state, buffers: listening.buffers,
    count, stack, response, composite, matrix, kernels, lineLevels, phaseGains, guessing, spectrogram, harmonics, meter,
  });
  listening.open(0);
  requestAnimationFrame(tick);
}

setUp();
