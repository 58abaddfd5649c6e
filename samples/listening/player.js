// Voices that start together and run in step; one is heard. Switching fades over 5 ms, so nothing jumps.

const FADE_S = 0.005, AHEAD_S = 0.02;

class Player {
  #context = null;
  #sources = [];
  #gains = [];
  #voices = [];
  #timer = 0;
  #offset = 0;
  #startedAt = 0;
  #volume = 1;
  playing = false;
  chosen = 0;
  looping = true;
  region = [0, 0];
  seconds = 0;
  onend = () => {};

  constructor(sampleRate) {
    this.sampleRate = sampleRate;
  }

  /** Made at the first sound, for browsers hold back what starts before a click. */
  get context() {
    if (!this.#context) {
      this.#context = new AudioContext({ sampleRate: this.sampleRate });
      this.bus = this.#context.createGain();
      this.analyser = this.#context.createAnalyser();
      this.analyser.fftSize = 2048;
      this.output = this.#context.createGain();
      this.bus.connect(this.analyser).connect(this.output).connect(this.#context.destination);
      this.output.gain.value = this.#volume;
      this.bus.gain.value = 0;
    }
    return this.#context;
  }

  /** Take `voices`, each `{buffer, periodic}`: tracks as long as each other, and waves that repeat for ever. */
  load(voices, seconds) {
    this.stop();
    const earlier = this.#gains;
    setTimeout(() => earlier.forEach((gain) => gain.disconnect()), 100);
    this.#voices = voices;
    this.#gains = [];
    this.seconds = seconds;
    this.region = [0, seconds];
    this.#offset = 0;
  }

  /** Where we are, in seconds: what has left the graph by now. */
  get position() {
    if (!this.playing) return this.#offset;
    const [from, to] = this.region;
    const at = this.#offset + Math.max(0, this.context.currentTime - this.#startedAt);
    return at < to ? at : this.looping ? from + (at - from) % (to - from) : to;
  }

  /** Where what is heard now is: later than `position` by the delay of the loudspeaker. */
  get heard() {
    const late = this.playing ? this.context.outputLatency || 0 : 0;
    return Math.max(this.region[0], this.position - late);
  }

  async play() {
    if (this.playing || !this.#voices.length) return;
    const context = this.context, [from, to] = this.region;
    this.playing = true;
    this.#startedAt = Infinity;
    if (context.state !== "running") await context.resume();
    if (!this.playing) return;
    if (this.#offset < from || this.#offset >= to - 0.001) this.#offset = from;
    if (!this.#gains.length) {
      this.#gains = this.#voices.map((_, n) => {
        const gain = context.createGain();
        gain.gain.value = n === this.chosen ? 1 : 0;
        gain.connect(this.bus);
        return gain;
      });
    }
    this.#startedAt = context.currentTime + AHEAD_S;
    this.#sources = this.#voices.map((voice, n) => this.#start(voice, this.#gains[n]));
    this.#fadeIn();
    if (!this.looping) this.#timer = setTimeout(() => this.#end(), 1000 * (to - this.#offset + AHEAD_S));
  }

  #start({ buffer, periodic }, gain) {
    const source = this.context.createBufferSource(), [from, to] = this.region;
    source.buffer = buffer;
    source.connect(gain);
    if (periodic) {
      source.loop = true;
      source.start(this.#startedAt, this.#offset % buffer.duration);
      if (!this.looping) source.stop(this.#startedAt + to - this.#offset);
    } else if (this.looping) {
      [source.loop, source.loopStart, source.loopEnd] = [true, from, to];
      source.start(this.#startedAt, this.#offset);
    } else {
      source.start(this.#startedAt, this.#offset, to - this.#offset);
    }
    return source;
  }

  // What still sounds fades out before these begin.
  #fadeIn() {
    this.#ramp(this.bus.gain, 0);
    this.bus.gain.setValueAtTime(0, this.#startedAt);
    this.bus.gain.linearRampToValueAtTime(1, this.#startedAt + FADE_S);
  }

  #end() {
    this.stop();
    this.#offset = this.region[0];
    this.onend();
  }

  /** Pause: `play` goes on from here. */
  stop() {
    clearTimeout(this.#timer);
    if (!this.playing) return;
    this.#offset = this.position;
    this.playing = false;
    this.#ramp(this.bus.gain, 0);
    this.#sources.forEach((source) => source.stop(this.context.currentTime + 2 * FADE_S));
    this.#sources = [];
  }

  async seek(seconds) {
    await this.#change(() => {
      this.#offset = Math.min(Math.max(seconds, this.region[0]), this.region[1]);
    });
  }

  async setRegion(from, to) {
    const sample = (seconds) => Math.round(Math.min(Math.max(seconds, 0), this.seconds) * this.sampleRate) / this.sampleRate;
    await this.#change(() => {
      this.region = [sample(from), sample(to)];
      this.#offset = Math.min(Math.max(this.#offset, this.region[0]), this.region[1]);
    });
  }

  async setLooping(looping) {
    await this.#change(() => { this.looping = looping; });
  }

  // All sources begin anew at one instant: moved one by one, they might part.
  async #change(make) {
    const playing = this.playing;
    this.stop();
    make();
    if (playing) await this.play();
  }

  /** Hear another voice from now on, at the same place. */
  choose(number) {
    this.chosen = number;
    this.#gains.forEach((gain, n) => this.#ramp(gain.gain, n === number ? 1 : 0));
  }

  /** The same by way of silence, which sounds alike whether the voice changes or not. */
  chooseUnheard(number) {
    this.chosen = number;
    const now = this.#context ? this.context.currentTime : 0;
    this.#gains.forEach(({ gain }, n) => {
      const current = gain.value;
      gain.cancelScheduledValues(now);
      gain.setValueAtTime(current, now);
      gain.linearRampToValueAtTime(0, now + FADE_S);
      gain.setValueAtTime(0, now + 2 * FADE_S);
      gain.linearRampToValueAtTime(n === number ? 1 : 0, now + 3 * FADE_S);
    });
  }

  setVolume(volume) {
    this.#volume = volume;
    if (this.#context) this.#ramp(this.output.gain, volume);
  }

  /** What each voice is multiplied by at the moment. */
  gains() {
    return this.#gains.map((gain) => gain.gain.value);
  }

  #ramp(parameter, value) {
    const now = this.context.currentTime, current = parameter.value;
    parameter.cancelScheduledValues(now);
    parameter.setValueAtTime(current, now);
    parameter.linearRampToValueAtTime(value, now + FADE_S);
  }
}
