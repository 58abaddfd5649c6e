// Small helpers of the page: elements, words for numbers, canvases in the colours of the page.

const element = (id) => document.getElementById(id);

/** `text` in a new element; text is never read as HTML. */
function made(name, text, className = "") {
  const node = document.createElement(name);
  node.textContent = text;
  if (className) node.className = className;
  return node;
}

function decibels(value, digits = 1) {
  if (value === null || value === -Infinity || value < -199) return "−∞";
  return (Math.abs(value) < 0.05 ? 0 : value).toFixed(digits).replace("-", "−");
}

function signed(value) {
  return (value > 0.05 ? "+" : value < -0.05 ? "" : "±") + decibels(value);
}

/** An empty canvas in device pixels, drawn on in CSS pixels, and the colours of the page. */
function blank(canvas) {
  const { width, height } = canvas.getBoundingClientRect(), dense = window.devicePixelRatio || 1;
  [canvas.width, canvas.height] = [Math.round(width * dense), Math.round(height * dense)];
  const context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  context.setTransform(dense, 0, 0, dense, 0, 0);
  context.font = "12px system-ui, sans-serif";
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  return { context, width, height, ink: colour("ink"), soft: colour("soft"), mark: colour("mark"), faint: colour("edge") };
}

/** Draw now, and whenever sizes or colours change. */
function redrawn(draw) {
  window.addEventListener("resize", draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
}

/** A click with a pointer leaves the keys to the page; one with the keyboard keeps the focus. */
function onClick(node, act) {
  node.addEventListener("click", (event) => {
    if (event.detail > 0) node.blur();
    act(event);
  });
}

function pressed(node, on) {
  node.setAttribute("aria-pressed", String(on));
}
