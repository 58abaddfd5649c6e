// The discrete Fourier transform, and levels of sound over time and frequency.

/** Transform in place; the length is a power of two. */
function fft(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j |= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let half = 1; half < n; half *= 2) {
    for (let k = 0; k < half; k++) {
      const c = Math.cos(-Math.PI * k / half), s = Math.sin(-Math.PI * k / half);
      for (let i = k; i < n; i += 2 * half) {
        const j = i + half, x = c * re[j] - s * im[j], y = c * im[j] + s * re[j];
        re[j] = re[i] - x;
        im[j] = im[i] - y;
        re[i] += x;
        im[i] += y;
      }
    }
  }
}

/**
 * Levels in dBFS (a full-scale sine is 0) of Hann frames of `size` samples around every `hop`-th sample;
 * `levels[column * bins + bin]`, from 0 Hz to half the sample rate.
 */
function spectrogram(samples, size, hop) {
  const bins = size / 2 + 1, columns = Math.floor(samples.length / hop) + 1;
  const hann = Float64Array.from({ length: size }, (_, n) => 0.5 - 0.5 * Math.cos(2 * Math.PI * n / size));
  const levels = new Float32Array(columns * bins), re = new Float64Array(size), im = new Float64Array(size);
  for (let column = 0; column < columns; column++) {
    const start = column * hop - size / 2;
    for (let n = 0; n < size; n++) re[n] = hann[n] * (samples[start + n] ?? 0);
    im.fill(0);
    fft(re, im);
    for (let bin = 0; bin < bins; bin++) {
      const sides = bin === 0 || bin === bins - 1 ? 1 : 2;  // of the sine that a bin stands for
      levels[column * bins + bin] = 20 * Math.log10(sides * Math.hypot(re[bin], im[bin]) / (size / 2) + 1e-12);
    }
  }
  return { levels, columns, bins };
}

/** Root mean square and peak, in dBFS of a sample (a full-scale sine has -3 RMS). */
function meter(samples) {
  let power = 0, peak = 0;
  for (const x of samples) {
    power += x * x;
    peak = Math.max(peak, Math.abs(x));
  }
  return { rms: 10 * Math.log10(power / samples.length), peak: 20 * Math.log10(peak) };
}
