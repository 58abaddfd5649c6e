// The spectrogram of what plays, with cursor, loop region and stride harmonics over it.

const FRAME = 1024, FLOOR_DBFS = -100, TOP_DBFS = -20, EDGE_TICK = 10;
const HEAT = [[8, 9, 20], [52, 23, 92], [120, 32, 108], [187, 55, 84], [236, 105, 55], [250, 175, 55], [252, 250, 195]];
const STAGES = ["#7df9ff", "#c8ff5a", "#ffffff", "#ffa3f7", "#9fb4ff"];
const DASHES = [[], [6, 4], [2, 3], [9, 3, 2, 3], [1, 5]];

const HEATMAP = Array.from({ length: 256 }, (_, level) => {
  const at = level / 255 * (HEAT.length - 1), left = Math.min(Math.floor(at), HEAT.length - 2);
  return HEAT[left].map((value, c) => Math.round(value + (at - left) * (HEAT[left + 1][c] - value)));
});

/** Draw levels as an image, one pixel a bin and a column. */
function paint(canvas, samples) {
  const hop = Math.max(32, Math.ceil(samples.length / 1500));
  const { levels, columns, bins } = spectrogram(samples, FRAME, hop);
  [canvas.width, canvas.height] = [columns, bins];
  const context = canvas.getContext("2d"), image = context.createImageData(columns, bins);
  for (let x = 0; x < columns; x++) {
    for (let y = 0; y < bins; y++) {
      const share = (levels[x * bins + y] - FLOOR_DBFS) / (TOP_DBFS - FLOOR_DBFS);
      const [r, g, b] = HEATMAP[Math.round(255 * Math.min(Math.max(share, 0), 1))];
      image.data.set([r, g, b, 255], 4 * ((bins - 1 - y) * columns + x));
    }
  }
  context.putImageData(image, 0, 0);
}

/** Harmonics by the latest stage that makes them: `[{stage, spacing, hz: [...]}]`, the latest stage first. */
function harmonics(strides, sampleRate) {
  const found = [];
  let known = 1;
  for (let stage = strides.length - 1; stage >= 0; stage--) {
    const period = known * strides[stage], hz = [];
    for (let k = 1; 2 * k <= period; k++) {
      if (k * known % period) hz.push(k * sampleRate / period);  // the others are a later stage's, too
    }
    found.push({ stage, spacing: sampleRate / period, hz });
    known = period;
  }
  return found;
}

/** Draw what lies over the spectrogram; sizes are CSS pixels. */
function overlay(canvas, { sampleRate, series, seconds, region, cursor }) {
  const { width, height } = canvas.getBoundingClientRect(), dense = window.devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * dense), Math.round(height * dense)];
  if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
  const context = canvas.getContext("2d");
  context.setTransform(dense, 0, 0, dense, 0, 0);
  context.clearRect(0, 0, width, height);
  const y = (hz) => Math.min(height * (1 - 2 * hz / sampleRate) + 0.5, height - 0.5) || 0.5;
  for (const { stage, hz } of series) {
    context.strokeStyle = STAGES[stage % STAGES.length];
    context.setLineDash(DASHES[stage % DASHES.length]);
    const dense = height / hz.length < 12;  // lines would hide the picture
    context.globalAlpha = dense ? 0.9 : 0.75;
    context.beginPath();
    for (const f of hz) {
      const at = Math.max(y(f), 0.5);
      for (const [a, b] of dense ? [[0, EDGE_TICK], [width - EDGE_TICK, width]] : [[0, width]]) {
        context.moveTo(a, at);
        context.lineTo(b, at);
      }
    }
    context.stroke();
  }
  context.setLineDash([]);
  context.globalAlpha = 1;
  const x = (time) => time / seconds * width;
  context.fillStyle = "rgba(0, 0, 0, .55)";
  context.fillRect(0, 0, x(region[0]), height);
  context.fillRect(x(region[1]), 0, width - x(region[1]), height);
  context.fillStyle = "#fff";
  context.fillRect(x(cursor) - 0.75, 0, 1.5, height);
}
