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
    pen.font = "12px system-ui, sans-serif";
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
  pen.strokeStyle = ink("line"); pen.fillStyle = ink("soft"); pen.lineWidth = 1;
  pen.textBaseline = "middle"; pen.textAlign = "right";
  for (const [y, text] of ys) { pen.beginPath(); pen.moveTo(box.x, y); pen.lineTo(box.x + box.w, y); pen.stroke(); pen.fillText(text, box.x - 6, y); }
  pen.textBaseline = "top"; pen.textAlign = "center";
  let end = -Infinity;
  for (const [x, text] of xs) {
    const half = pen.measureText(text).width / 2, middle = Math.min(Math.max(x, half), pen.canvas.clientWidth - 1 - half);
    if (middle - half > end + 8) { pen.fillText(text, middle, box.y + box.h + 6); end = middle + half; }
  }
  pen.fillText(xText, box.x + box.w / 2, box.y + box.h + 22);
  if (yText) { pen.textAlign = "left"; pen.textBaseline = "bottom"; pen.fillText(yText, 2, box.y - 6); }
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
