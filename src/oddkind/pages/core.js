"use strict";
/* What every page of oddkind is made of: facts, text, and drawing on canvases. */

/* --- facts --- */
const at = (id) => document.getElementById(id);
const ARRAYS = { f8: Float64Array, f4: Float32Array, i4: Int32Array, i1: Int8Array, u1: Uint8Array };
function unpacked(of) {
  const text = atob(of.base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  return new ARRAYS[of.type](bytes.buffer);
}
const facts = JSON.parse(at("facts").textContent);

/* --- text: a message is an English sentence with {names} in place of values; the catalogue translates it --- */
const LANGUAGE = document.documentElement.lang;
/* The parts of a message, values in their places; a value may be an element. */
const nodes = (message, values = {}) => (facts.catalogue[message] ?? message).split(/\{(\w+)\}/).map((part, n) => (n % 2 ? values[part] : part));
const t = (message, values) => nodes(message, values).join("");
/* The same for one and for several; {n} is their number. */
const tn = (one, several, n, values = {}) => t(n === 1 ? one : several, { n: count(n), ...values });
function made(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value; else if (value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}
const short = (value) => (value === 0 ? "0" : Math.abs(value) < 0.0001 || Math.abs(value) >= 1e6 ? value.toExponential(1) : String(+value.toPrecision(3)));
const percent = (value) => `${+(100 * value).toPrecision(3)} %`;
const share = (k, n) => (n ? t("{k} of {n} ({percent})", { k: count(k), n: count(n), percent: percent(k / n) }) : t("none"));
const count = (n) => n.toLocaleString(LANGUAGE);
const bdi = (text) => made("bdi", {}, text);
const hertz = (f) => (f >= 1000 ? `${+(f / 1000).toPrecision(2)} kHz` : `${Math.round(f)} Hz`);
const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/* --- drawing: canvases of their real size, drawn again when the size, the colours or the numbers change --- */
const redraw = new Map();
let printing = false;
function canvas(height, label, draw, focusable = false) {
  const element = made("canvas", { class: "plot", role: "img", "aria-label": label, tabindex: focusable ? "0" : null });
  element.style.height = `${height}px`;
  const again = () => {
    const ratio = window.devicePixelRatio || 1, { width } = element.getBoundingClientRect();
    if (!width) return;
    element.width = Math.round(width * ratio); element.height = Math.round(height * ratio);
    const pen = element.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = `${0.8 * parseFloat(getComputedStyle(element).fontSize)}px system-ui, sans-serif`;
    draw(pen, width, height, element);
  };
  redraw.set(element, again);
  return element;
}
const drawAll = () => { for (const [element, draw] of redraw) { if (element.isConnected) draw(); else redraw.delete(element); } };
/* Draws all again when the width, the theme or the paper changes; `first` is what else must be laid out before. */
function watchTheLook(first = () => {}) {
  let width = 0;
  const again = () => { first(); drawAll(); };
  new ResizeObserver(() => { if (window.innerWidth !== width) { width = window.innerWidth; again(); } }).observe(document.body);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  const paper = (on) => { printing = on; document.documentElement.classList.toggle("paper", on); again(); };
  window.addEventListener("beforeprint", () => paper(true));
  window.addEventListener("afterprint", () => paper(false));
}
function axes(pen, box, xs, ys, xText, yText) {
  const size = parseFloat(pen.font);
  pen.strokeStyle = ink("line"); pen.fillStyle = ink("soft"); pen.lineWidth = 1;
  pen.textBaseline = "middle"; pen.textAlign = "right";
  for (const [y, text] of ys) { pen.beginPath(); pen.moveTo(box.x, y); pen.lineTo(box.x + box.w, y); pen.stroke(); pen.fillText(text, box.x - 6, y); }
  pen.textBaseline = "top"; pen.textAlign = "center";
  let end = -Infinity;
  for (const [x, text] of xs) {
    const half = pen.measureText(text).width / 2, middle = Math.min(Math.max(x, half), pen.canvas.clientWidth - 1 - half);
    if (middle - half > end + 8) { pen.fillText(text, middle, box.y + box.h + 6); end = middle + half; }
  }
  pen.fillText(xText, box.x + box.w / 2, box.y + box.h + 6 + 1.35 * size);
  if (yText) { pen.textAlign = "left"; pen.textBaseline = "bottom"; pen.fillText(yText, 2, box.y - 0.55 * size); }
}
const niceStep = (most, parts = 4) => { const raw = most / parts || 1, unit = 10 ** Math.floor(Math.log10(raw)); return unit * [1, 2, 5, 10].find((k) => k * unit >= raw); };

const key = (...kinds) => kinds.flatMap(([kind, text]) => [made("span", { class: `key ${kind}` }), text]);
function curve(pen, values, box, low, high) {
  pen.lineJoin = "round"; pen.beginPath();
  for (let i = 0; i < values.length; i += 1) {
    const x = box.x + box.w * (i + 0.5) / values.length, y = box.y + box.h * (1 - (values[i] - low) / (high - low || 1));
    if (i) pen.lineTo(x, y); else pen.moveTo(x, y);
  }
  pen.stroke();
}
function mark(pen, box, x, text) {
  pen.strokeStyle = ink("odd"); pen.lineWidth = 2; pen.setLineDash([6, 4]);
  pen.beginPath(); pen.moveTo(x, box.y - 4); pen.lineTo(x, box.y + box.h); pen.stroke(); pen.setLineDash([]);
  const long = pen.measureText(text).width, from = x + long + 10 > box.x + box.w ? x - long - 5 : x + 5;
  pen.globalAlpha = 0.85; pen.fillStyle = ink("card"); pen.fillRect(from - 2, box.y - 8, long + 4, 16); pen.globalAlpha = 1;
  pen.fillStyle = ink("odd-text"); pen.textBaseline = "middle"; pen.textAlign = "left"; pen.fillText(text, from, box.y);
}

/* --- plots of scores: histogram, ROC curve, reliability --- */
/* How many of rising values lie above one. */
function above(rising, value) {
  let low = 0, high = rising.length;
  while (low < high) { const middle = (low + high) >> 1; if (rising[middle] <= value) low = middle + 1; else high = middle; }
  return rising.length - low;
}
/* The ROC curve and its area, ties counted half; both arrays of scores rise. */
function rocOf(normal, odd) {
  const points = [[0, 0]];
  let i = normal.length, j = odd.length, area = 0;
  while (i || j) {
    const value = Math.max(i ? normal[i - 1] : -Infinity, j ? odd[j - 1] : -Infinity), fromI = i, fromJ = j;
    while (i && normal[i - 1] === value) i -= 1;
    while (j && odd[j - 1] === value) j -= 1;
    area += (fromI - i) * (odd.length - (fromJ + j) / 2);
    points.push([(normal.length - i) / normal.length, (odd.length - j) / odd.length]);
  }
  return { points, auc: area / normal.length / odd.length };
}
/* The fraction of values in each bin; the last one includes its upper edge. */
function sharesOf(values, low, high, bins) {
  const found = new Float64Array(bins), step = 1 / values.length;
  for (const value of values) found[Math.min(bins - 1, Math.max(0, Math.floor(bins * (value - low) / (high - low))))] += step;
  return found;
}
const plotBox = (pen, w, h) => { const size = parseFloat(pen.font); return { x: 3.6 * size, y: 2 * size, w: w - 4.8 * size, h: h - 5.5 * size }; };
/* Overlapping histograms: kinds are pairs of shares and a colour; `cut` is a threshold, `line` another place to mark. */
function drawShares(pen, w, h, { kinds, low, high, xText, yText, cut = null, cutText = "", line = null }) {
  const box = plotBox(pen, w, h), largest = Math.max(...kinds.map(([shares]) => Math.max(...shares))), top = [0.1, 0.2, 0.3, 0.5, 0.75, 1].find((one) => one >= largest - 1e-9) ?? 1;
  const x = (value) => box.x + box.w * (Math.min(high, Math.max(low, value)) - low) / (high - low), y = (part) => box.y + box.h * (1 - part / top);
  const step = niceStep(high - low), xs = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + 1e-9; value += step) xs.push([x(value), short(+value.toFixed(9))]);
  axes(pen, box, xs, [0, 0.5, 1].map((part) => [y(part * top), percent(part * top)]), xText, yText);
  for (const [shares, colour] of kinds) {
    const wide = box.w / shares.length;
    pen.beginPath(); pen.moveTo(box.x, y(0));
    shares.forEach((part, b) => { pen.lineTo(box.x + b * wide, y(part)); pen.lineTo(box.x + (b + 1) * wide, y(part)); });
    pen.lineTo(box.x + box.w, y(0));
    pen.globalAlpha = 0.4; pen.fillStyle = ink(colour); pen.fill();
    pen.globalAlpha = 1; pen.strokeStyle = ink(colour); pen.lineWidth = 1.75; pen.stroke();
  }
  if (line !== null) { pen.strokeStyle = ink("ink"); pen.lineWidth = 1.75; pen.setLineDash([2, 4]); pen.beginPath(); pen.moveTo(x(line), box.y); pen.lineTo(x(line), box.y + box.h); pen.stroke(); pen.setLineDash([]); }
  if (cut !== null) mark(pen, box, x(cut), cutText);
}
/* ROC curves, each with points, a colour and a dash; `point` is where a threshold lies. */
function drawRoc(pen, w, h, { curves, xText, yText, point = null }) {
  const box = plotBox(pen, w, h), x = (v) => box.x + box.w * v, y = (v) => box.y + box.h * (1 - v), ticks = [0, 0.25, 0.5, 0.75, 1];
  axes(pen, box, ticks.map((v) => [x(v), percent(v)]), ticks.map((v) => [y(v), percent(v)]), xText, yText);
  const line = (points) => { pen.beginPath(); points.forEach(([a, b], k) => (k ? pen.lineTo(x(a), y(b)) : pen.moveTo(x(a), y(b)))); pen.stroke(); };
  pen.strokeStyle = ink("soft"); pen.lineWidth = 1; pen.setLineDash([4, 4]); line([[0, 0], [1, 1]]);
  pen.lineWidth = 2.5; pen.lineJoin = "round";
  for (const { points, colour, dash = [] } of curves) {
    const every = Math.max(1, Math.floor(points.length / 800));
    pen.strokeStyle = ink(colour); pen.setLineDash(dash); line(points.filter((_, k) => k % every === 0 || k === points.length - 1));
  }
  pen.setLineDash([]);
  if (point) { pen.fillStyle = ink("odd"); pen.strokeStyle = ink("card"); pen.lineWidth = 2; pen.beginPath(); pen.arc(x(point[0]), y(point[1]), 7, 0, 7); pen.fill(); pen.stroke(); }
}
/* Confidence and accuracy in bins of equal width, (a, b], as Python computes them; logits of C classes in a row. */
function reliabilityOf(logits, targets, classes, temperature, bins = 15) {
  const count_ = new Float64Array(bins), sure = new Float64Array(bins), right = new Float64Array(bins);
  for (let i = 0; i < targets.length; i += 1) {
    let best = 0, sum = 0;
    for (let c = 1; c < classes; c += 1) if (logits[i * classes + c] > logits[i * classes + best]) best = c;
    for (let c = 0; c < classes; c += 1) sum += Math.exp((logits[i * classes + c] - logits[i * classes + best]) / temperature);
    const confidence = 1 / sum;
    let bin = Math.min(bins - 1, Math.floor(confidence * bins));
    if (bin > 0 && confidence <= bin / bins) bin -= 1;
    count_[bin] += 1; sure[bin] += confidence; right[bin] += best === targets[i];
  }
  const total = targets.length, sumOf = (values) => values.reduce((a, b) => a + b, 0);
  return { bins: Array.from(count_, (n, b) => ({ share: n / total, confidence: sure[b] / n, accuracy: right[b] / n })).filter((one) => one.share > 0),
    error: sure.reduce((sum, value, b) => sum + Math.abs(value - right[b]), 0) / total, confidence: sumOf(sure) / total, accuracy: sumOf(right) / total };
}
/* The area of a dot is its share of the samples; a line joins it to where confidence and accuracy are equal. */
function drawReliability(pen, w, h, { bins, xText, yText }) {
  const box = plotBox(pen, w, h), x = (v) => box.x + box.w * v, y = (v) => box.y + box.h * (1 - v), ticks = [0, 0.25, 0.5, 0.75, 1];
  axes(pen, box, ticks.map((v) => [x(v), percent(v)]), ticks.map((v) => [y(v), percent(v)]), xText, yText);
  pen.strokeStyle = ink("soft"); pen.lineWidth = 1; pen.setLineDash([4, 4]); pen.beginPath(); pen.moveTo(x(0), y(0)); pen.lineTo(x(1), y(1)); pen.stroke(); pen.setLineDash([]);
  pen.strokeStyle = pen.fillStyle = ink("normal"); pen.lineWidth = 2;
  for (const { share: part, confidence, accuracy } of bins) {
    pen.globalAlpha = 0.5; pen.beginPath(); pen.moveTo(x(confidence), y(confidence)); pen.lineTo(x(confidence), y(accuracy)); pen.stroke();
    pen.globalAlpha = 0.8; pen.beginPath(); pen.arc(x(confidence), y(accuracy), 3 + 12 * Math.sqrt(part), 0, 7); pen.fill();
  }
  pen.globalAlpha = 1;
}
