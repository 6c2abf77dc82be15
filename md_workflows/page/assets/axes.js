// Scales, ticks, numbers as text, colours.

const MINUS = "−";

function shown(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value);
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : MINUS + "inf";
  if (Number.isInteger(value) && Math.abs(value) < 1e7) return String(value).replace("-", MINUS);
  const size = Math.abs(value);
  const text = size >= 1e6 || size < 1e-4 ? value.toExponential(3) : String(Number(value.toPrecision(6)));
  return text.replace(/-/g, MINUS);
}

function rangeOf(numbers, positive) {
  let [low, high] = [Infinity, -Infinity];
  for (const x of numbers) {
    if (!Number.isFinite(x) || (positive && x <= 0)) continue;
    if (x < low) low = x;
    if (x > high) high = x;
  }
  return low <= high ? [low, high] : null;
}

class Scale {
  constructor([low, high], log, [start, end], pad = 0.04) {
    this.log = log;
    const [a, b] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
    const room = b > a ? (b - a) * pad : pad ? Math.abs(a) * 0.05 || 0.5 : 0.5;
    [this.a, this.b, this.start, this.end] = [a - room, b + room, start, end];
  }

  at(value) {
    const v = this.log ? Math.log10(value) : value;
    return this.start + ((v - this.a) / (this.b - this.a)) * (this.end - this.start);
  }

  value(pixel) {
    const v = this.a + ((pixel - this.start) / (this.end - this.start)) * (this.b - this.a);
    return this.log ? 10 ** v : v;
  }

  ticks(about) {
    if (this.log && this.b - this.a >= 1) return this.decades(about);
    const [low, high] = this.log ? [10 ** this.a, 10 ** this.b] : [this.a, this.b];
    const rough = (high - low) / about;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((nice) => nice * power >= rough) * power;
    const found = [];
    for (let n = Math.ceil(low / step); n * step <= high; n++) found.push(Number((n * step).toPrecision(12)));
    return found;
  }

  decades(about) {
    const found = [];
    const step = Math.max(1, Math.ceil((this.b - this.a) / about));
    for (let n = Math.ceil(this.a); n <= this.b; n++) if (n % step === 0) found.push(10 ** n);
    return found;
  }
}

function tickText(value, log) {
  const power = Math.log10(Math.abs(value));
  if (value !== 0 && (power >= 5 || power < -3)) {
    if (log && Number.isInteger(Math.round(power * 1e9) / 1e9)) return `10${superscript(Math.round(power))}`;
    return value.toExponential().replace("e+", "e").replace(/-/g, MINUS);
  }
  return String(Number(value.toPrecision(10))).replace("-", MINUS);
}

const superscript = (n) => [...String(n)].map((c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]).join("");

// Viridis, from matplotlib (CC0), at nine places.
const VIRIDIS = ["440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"];
// Okabe and Ito's colours, which the colour-blind tell apart.
const CATEGORIES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a900", "#8b8b8b"];

const channels = (hex) => [0, 2, 4].map((i) => parseInt(hex.replace("#", "").slice(i, i + 2), 16));
const mixed = (one, other, part) => one.map((c, i) => Math.round(c + (other[i] - c) * part));
const css = (rgb) => `rgb(${rgb.join(",")})`;

const VIRIDIS_256 = Array.from({ length: 256 }, (_, i) => {
  const place = (i / 255) * (VIRIDIS.length - 1);
  const k = Math.min(Math.floor(place), VIRIDIS.length - 2);
  return css(mixed(channels(VIRIDIS[k]), channels(VIRIDIS[k + 1]), place - k));
});
const viridis = (part) => VIRIDIS_256[Math.round(255 * Math.min(1, Math.max(0, part)))];

// Colours of the theme; asked of the browser once, for that is slow.
const themed = new Map();
function token(name) {
  if (!themed.has(name)) themed.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return themed.get(name);
}

// Give a canvas as many pixels as the screen has; returns its context in CSS pixels, with width and height.
function fitted(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { context, width, height };
}

// Lines, ticks and names of both axes around `box` = {left, right, top, bottom}.
function drawAxes(context, box, x, y, names) {
  context.font = "11px system-ui, sans-serif";
  context.strokeStyle = token("--line");
  context.fillStyle = token("--soft");
  context.lineWidth = 1;
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const value of x.ticks(Math.max(2, (box.right - box.left) / 70))) {
    const at = Math.round(x.at(value)) + 0.5;
    line(context, at, box.top, at, box.bottom);
    context.fillText(tickText(value, x.log), at, box.bottom + 5);
  }
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const value of y.ticks(Math.max(2, (box.bottom - box.top) / 32))) {
    const at = Math.round(y.at(value)) + 0.5;
    line(context, box.left, at, box.right, at);
    context.fillText(tickText(value, y.log), box.left - 6, at);
  }
  context.fillStyle = token("--ink");
  context.font = "12px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "alphabetic";
  context.fillText(names.x, (box.left + box.right) / 2, box.bottom + 33, box.right - box.left);
  context.save();
  context.translate(14, (box.top + box.bottom) / 2);
  context.rotate(-Math.PI / 2);
  context.fillText(names.y, 0, 0, box.bottom - box.top);
  context.restore();
}

function line(context, x1, y1, x2, y2) {
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
}

function* picked(numbers, rows) {
  for (const row of rows) yield numbers[row];
}
const valuesAt = (numbers, rows) => Float64Array.from(picked(numbers, rows));
const byText = (a, b) => String(a).localeCompare(String(b), "en", { numeric: true });
