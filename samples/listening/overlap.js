// Layers on one channel: what they make of a constant, their matrix, their lines. The same as audioup.overlap.

/** One layer, uncropped: a copy of `taps` at every `stride`-th sample, as loud as the input sample. */
function upsample(input, taps, stride) {
  const output = new Array((input.length - 1) * stride + taps.length).fill(0);
  input.forEach((x, m) => taps.forEach((h, l) => { output[m * stride + l] += x * h; }));
  return output;
}

function ones(length) {
  return new Array(length).fill(1);
}

/** In how many ways layers of `[kernel size, stride]` reach each output sample. */
function stack(length, layers) {
  return layers.reduce((counts, [size, stride]) => upsample(counts, ones(size), stride), ones(length));
}

function count(length, kernelSize, stride) {
  return stack(length, [[kernelSize, stride]]);
}

/** Linear interpolation, half-pixel aligned. */
function triangle(stride) {
  const size = stride % 2 ? 2 * stride - 1 : 2 * stride;
  return Array.from({ length: size }, (_, n) => 1 - Math.abs(n - (size - 1) / 2) / stride);
}

/** Numbers of mean 0 and standard deviation 1, the same for the same seed (a sum of twelve uniform ones). */
function normals(seed) {
  let state = seed >>> 0;
  const uniform = () => {  // mulberry32
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => Array.from({ length: 12 }, uniform).reduce((sum, x) => sum + x, -6);
}

/** Taps at the output rate of each layer: `{kind, stride, kernelSize, layers, spread, seed}`. */
function kernels({ kind, stride, kernelSize, layers, spread = 0, seed = 1 }) {
  const draw = normals(seed);
  return Array.from({ length: layers }, () => {
    const weight = Array.from({ length: kind === "subpixel" ? kernelSize * stride : kernelSize }, () => 1 + spread * draw());
    if (kind === "nearest") return upsample(weight, ones(stride), 1);
    if (kind === "linear") return upsample(weight, triangle(stride), 1);
    return weight;
  });
}

/** What `length` ones become. */
function response(length, settings) {
  return kernels(settings).reduce((signal, taps) => upsample(signal, taps, settings.stride), ones(length));
}

/** All layers as one: the kernel of the composite stride. */
function composite(settings) {
  return response(1, settings);
}

/** Rows are output samples, columns input samples; uncropped. */
function matrix(length, settings) {
  const kernel = composite(settings), period = settings.stride ** settings.layers;
  const rows = (length - 1) * period + kernel.length;
  return Array.from({ length: rows }, (_, n) => Array.from({ length }, (_, m) => kernel[n - m * period] ?? 0));
}

/** Gain of each phase: one period of what a constant 1 becomes, away from the edges. */
function phaseGains(settings) {
  const gains = new Array(settings.stride ** settings.layers).fill(0);
  composite(settings).forEach((h, n) => { gains[n % gains.length] += h; });
  return gains;
}

/** `20 log10 |G_k / G_0|` of the phase gains' DFT for `k = 1 .. period / 2`, two-sided; -Infinity where no line is. */
function lineLevels(gains) {
  const size = gains.length, total = gains.reduce((sum, g) => sum + g, 0);
  return Array.from({ length: Math.floor(size / 2) }, (_, i) => {
    let re = 0, im = 0;
    gains.forEach((g, r) => {
      const angle = 2 * Math.PI * (((i + 1) * r) % size) / size;
      re += g * Math.cos(angle);
      im -= g * Math.sin(angle);
    });
    const level = 20 * Math.log10(Math.hypot(re, im) / Math.abs(total));
    return level < -250 ? -Infinity : level;
  });
}
