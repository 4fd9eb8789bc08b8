/* --- facts --- */
const LABEL = unpacked(facts.label), N = LABEL.length, NAMES = facts.labels, isOdd = (i) => LABEL[i] >= facts.n_normal_labels;
const NORMAL_ROWS = [], ODD_ROWS = [];
for (let i = 0; i < N; i += 1) (isOdd(i) ? ODD_ROWS : NORMAL_ROWS).push(i);
const NETWORKS = facts.networks.map((one) => ({ ...one, z: unpacked(one.logits), classes: one.logits.shape[1], held: unpacked(one.held_out), truth: unpacked(one.targets), places: unpacked(one.map) }));
const ROTNETS = facts.rotnets.map((one) => ({ ...one, turns: unpacked(one.predicted), views: one.predicted.shape[1] }));
const MAPPED = unpacked(facts.mapped), TOP = 1 - 1 / NETWORKS[0].classes, BINS = 40;
const nameOf = (network) => (network.smoothing ? t("smoothing {level}", { level: network.smoothing }) : t("no smoothing"));
const kindOf = (i) => (isOdd(i) ? t("anomalous") : t("normal")), colourOf = (i) => (isOdd(i) ? "odd" : "normal");
const part = (k, n) => t("{k} of {n} ({share})", { k: count(k), n: count(n), share: percent(k / n) });
const degrees = (turn, views) => `${360 * turn / views}°`;

/* --- numbers, as Python computes them --- */
/* 1 − MSP of all test pictures: the sum of the other probabilities, which does not round to 0 as 1 − p would. */
function scoresOf({ z, classes }, temperature) {
  const found = new Float64Array(N);
  for (let i = 0; i < N; i += 1) {
    let best = i * classes, sum = 0, others = 0;
    for (let k = best + 1; k < (i + 1) * classes; k += 1) if (z[k] > z[best]) best = k;
    for (let k = i * classes; k < (i + 1) * classes; k += 1) sum += Math.exp((z[k] - z[best]) / temperature);
    for (let k = i * classes; k < (i + 1) * classes; k += 1) if (k !== best) others += Math.exp((z[k] - z[best]) / temperature - Math.log(sum));
    found[i] = others;
  }
  return found;
}
const rising = (scores, rows) => Float64Array.from(rows, (i) => scores[i]).sort();
function sorted(scores) {
  const normal = rising(scores, NORMAL_ROWS), odd = rising(scores, ODD_ROWS);
  return { normal, odd, kinds: [[sharesOf(normal, 0, TOP, BINS), "normal"], [sharesOf(odd, 0, TOP, BINS), "odd"]], ...rocOf(normal, odd) };
}
const atTemperature = (network, temperature) => sorted(scoresOf(network, temperature));
const AT_ONE = NETWORKS.map((network) => ({ ...atTemperature(network, 1), scores: scoresOf(network, 1) }));
/* The lowest threshold with at most so many false alarms. */
function cutAt(normal, rate) {
  const allowed = Math.min(Math.floor(rate * normal.length + 1e-9), normal.length - 1);
  return Math.ceil(normal[normal.length - 1 - allowed] * 1e6) / 1e6;
}
/* Mean circular distance of the predicted rotations of each picture. */
function distancesOf({ turns, views }) {
  return Float64Array.from({ length: N }, (_, i) => {
    let sum = 0;
    for (let v = 0; v < views; v += 1) { const apart = Math.abs(turns[i * views + v] - v); sum += Math.min(apart, views - apart); }
    return sum / views;
  });
}
function confusionOf({ turns, views }, rows) {
  const found = Array.from({ length: views }, () => new Float64Array(views));
  for (const i of rows) for (let v = 0; v < views; v += 1) found[v][turns[i * views + v]] += 1 / rows.length;
  return found;
}
const mistakenOf = (rotnet, rows) => 1 - confusionOf(rotnet, rows).reduce((sum, line, v) => sum + line[v], 0) / rotnet.views;

/* --- pictures of digits, cut from one --- */
const SIDE = facts.pictures.side, ACROSS = facts.pictures.across, PICTURED = unpacked(facts.pictures.rows), PLACE = new Map(Array.from(PICTURED, (row, k) => [row, k]));
const sheet = new Image();
let tinted = null, tintedIn = "";
function inked() {
  if (!sheet.naturalWidth || tintedIn === ink("ink")) return tinted;
  tintedIn = ink("ink");
  tinted = document.createElement("canvas");
  tinted.width = sheet.naturalWidth; tinted.height = sheet.naturalHeight;
  const pen = tinted.getContext("2d"), rgb = [1, 3, 5].map((from) => parseInt(tintedIn.slice(from, from + 2), 16));
  pen.drawImage(sheet, 0, 0);
  const data = pen.getImageData(0, 0, tinted.width, tinted.height);
  for (let k = 0; k < data.data.length; k += 4) { data.data[k + 3] = data.data[k]; data.data.set(rgb, k); }
  pen.putImageData(data, 0, 0);
  return tinted;
}
/* Rotated counter-clockwise, as the task rotates. */
function digit(pen, row, x, y, size, turns = 0, views = 4) {
  const from = inked(), place = PLACE.get(row);
  if (!from || place === undefined) return;
  pen.save();
  pen.translate(x + size / 2, y + size / 2); pen.rotate(-2 * Math.PI * turns / views);
  pen.imageSmoothingEnabled = size < 2 * SIDE;
  pen.drawImage(from, SIDE * (place % ACROSS), SIDE * Math.floor(place / ACROSS), SIDE, SIDE, -size / 2, -size / 2, size, size);
  pen.restore();
}
function thumbnail(row, size, label, turns = 0, views = 4) {
  const element = canvas(size, label, (pen, w) => digit(pen, row, 0, 0, w, turns, views));
  element.style.width = `${size}px`;
  return element;
}
const labelled = (i) => (isOdd(i) ? t("{label} (anomalous)", { label: NAMES[LABEL[i]] }) : t("{label} (normal)", { label: NAMES[LABEL[i]] }));

/* --- tables --- */
const cell = (tag, content, properties = {}) => made(tag, properties, ...(Array.isArray(content) ? content : [content]));
function table(element, head, body) {
  element.replaceChildren(made("thead", {}, made("tr", {}, ...head.map((text) => cell("th", text, { scope: "col" })))),
    made("tbody", {}, ...body.map((cells) => made("tr", {}, ...cells.map((content, k) => (k ? cell("td", content) : cell("th", content, { scope: "row" })))))));
}
const RANGE = [Math.min(0.5, ...facts.rows.flatMap((row) => row.runs)), 1];
function runs(pen, w, h, row) {
  const x = (value) => 6 + (w - 12) * (value - RANGE[0]) / (RANGE[1] - RANGE[0]), middle = h / 2;
  pen.strokeStyle = ink("line"); pen.lineWidth = 1;
  for (let value = Math.ceil(10 * RANGE[0]) / 10; value <= 1.001; value += 0.1) { pen.beginPath(); pen.moveTo(x(value), 0); pen.lineTo(x(value), h); pen.stroke(); }
  pen.strokeStyle = pen.fillStyle = ink("normal"); pen.lineWidth = 3;
  if (row.interval) { pen.globalAlpha = 0.45; pen.beginPath(); pen.moveTo(x(Math.max(RANGE[0], row.interval[0])), middle); pen.lineTo(x(Math.min(1, row.interval[1])), middle); pen.stroke(); pen.globalAlpha = 1; }
  for (const value of row.runs) { pen.beginPath(); pen.arc(x(value), middle, 3, 0, 7); pen.fill(); }
  pen.lineWidth = 2.5; pen.beginPath(); pen.moveTo(x(row.mean), middle - 8); pen.lineTo(x(row.mean), middle + 8); pen.stroke();
  if (row.lecture === null) return;
  pen.strokeStyle = ink("ink"); pen.lineWidth = 2; pen.beginPath();
  pen.moveTo(x(row.lecture), middle - 8); pen.lineTo(x(row.lecture) + 6, middle); pen.lineTo(x(row.lecture), middle + 8); pen.lineTo(x(row.lecture) - 6, middle); pen.closePath(); pen.stroke();
}
function results() {
  const range = { low: short(+RANGE[0].toFixed(2)), high: RANGE[1] };
  table(at("rows"), [t("exercise and its score"), t("lecture’s AUC"), t("our mean AUC (95 % interval)"), t("single runs, on a scale from {low} to {high}", range)], facts.rows.map((row) => {
    const [low, high] = [Math.min(...row.runs), Math.max(...row.runs)].map((value) => value.toFixed(3)), mean = row.mean.toFixed(3), lecture = row.lecture === null ? "" : row.lecture.toFixed(3);
    return [[bdi(row.name), made("span", { class: "soft" }, row.formula)],
      row.lecture === null ? "–" : row.runs.length === 1 ? lecture : row.inside ? t("{lecture}, in our range", { lecture }) : t("{lecture}, not in our range", { lecture }),
      row.interval ? nodes("{mean} ({low} to {high})", { mean: made("b", {}, mean), low: row.interval[0].toFixed(3), high: row.interval[1].toFixed(3) }) : made("b", {}, mean),
      [canvas(26, t("{low} to {high}", { low, high }), (pen, w, h) => runs(pen, w, h, row)), made("span", { class: "soft" }, row.runs.length === 1 ? low : t("{low} to {high}", { low, high }))]];
  }));
  const n = facts.rows[0].runs.length;
  at("rows-note").textContent = tn("Dots: the single run; a diamond: the lecture’s single run, with the normal digits 0 to 3 and the anomalies 7 to 9.",
    "Dots: {n} single runs; a stroke: their mean, with the interval of the mean (Student’s t); a diamond: the lecture’s single run, with the normal digits 0 to 3 and the anomalies 7 to 9.", n);
}
function gains(section, found) {
  const element = at(section).querySelector(".gains");
  if (element) table(element, [t("exercise"), t("compared with"), t("difference of AUC"), t("95 % interval"), t("this is")], found.map((one) => [bdi(one.name), bdi(one.against), one.gain,
    one.interval ? t("{low} to {high}", { low: one.interval[0], high: one.interval[1] }) : "–", one.verdict]));
}

/* --- a bench: one network, its histogram and ROC curve, and what a threshold does to them; with temperature, reliability too --- */
const STEPS = [0.1, 1, 10].flatMap((decade) => [1, 1.1, 1.2, 1.3, 1.5, 1.6, 1.8, 2, 2.2, 2.4, 2.7, 3, 3.3, 3.6, 3.9, 4.3, 4.7, 5.1, 5.6, 6.2, 6.8, 7.5, 8.2, 9.1].map((step) => +(decade * step).toPrecision(2))).filter((value) => value <= 20);
const nearestStep = (value) => STEPS.reduce((best, step, k) => (Math.abs(Math.log(step / value)) < Math.abs(Math.log(STEPS[best] / value)) ? k : best), 0);
const FRAME_MS = 120;
function bench(place, withTemperature) {
  const state = { network: NETWORKS[0], temperature: 1, cut: TOP / 2 };
  let now = null, playing = null;
  const draw = {
    histogram: (pen, w, h) => drawShares(pen, w, h, { kinds: now.kinds, low: 0, high: TOP, xText: t("anomaly score 1 − MSP"), yText: t("share of its kind"), cut: state.cut, cutText: t("alarm →") }),
    roc: (pen, w, h) => drawRoc(pen, w, h, { curves: [{ points: now.points, colour: "ink" }], xText: t("false alarms among normal pictures"), yText: t("anomalies found"), point: [now.falseAlarms / now.normal.length, now.found / now.odd.length] }),
    reliability: (pen, w, h) => drawReliability(pen, w, h, { bins: now.reliability.bins, xText: t("confidence, the largest probability"), yText: t("accuracy") }),
  };
  const knob = (text, range, number, ...buttons) => made("div", { class: "knob" }, made("label", { for: range.id }, text), range, number, made("div", {}, ...buttons));
  const press = (text, act, properties = {}) => { const element = made("button", { type: "button", ...properties }, text); element.addEventListener("click", act); return element; };
  const slider = made("input", { id: `${place}-temperature`, type: "range", min: "0", max: STEPS.length - 1, step: "1" }), degree = made("input", { type: "number", min: "0.01", step: "any", "aria-label": t("Temperature T") });
  const cutSlider = made("input", { id: `${place}-threshold`, type: "range", min: "0", max: "1000", step: "1" }), cutNumber = made("input", { type: "number", min: "0", max: TOP, step: "any", "aria-label": t("Threshold") });
  const play = press(t("▶ Play"), () => (playing === null ? begin() : stop()), { "aria-pressed": "false" });
  const choice = made("select", { id: `${place}-network` }, ...NETWORKS.map((network, k) => made("option", { value: k }, nameOf(network))));
  const figures = Object.fromEntries(["histogram", "roc", ...(withTemperature ? ["reliability"] : [])].map((kind) => [kind, { title: made("h3"), note: made("figcaption"), plot: canvas(withTemperature ? 300 : 320, "", draw[kind]) }]));
  const fitted = press("", () => set({ temperature: state.network.fitted }));
  const numbers = made("dl", { class: "numbers", "aria-live": "polite" });
  function stop() { clearInterval(playing); playing = null; play.textContent = t("▶ Play"); play.setAttribute("aria-pressed", "false"); }
  function begin() {
    let k = nearestStep(state.temperature);
    if (k === STEPS.length - 1) k = -1;
    play.textContent = t("❚❚ Stop"); play.setAttribute("aria-pressed", "true");
    playing = setInterval(() => { k += 1; set({ temperature: STEPS[k] }); if (k === STEPS.length - 1) stop(); }, FRAME_MS);
  }
  function set(change) {
    if ("temperature" in change && !(change.temperature > 0 && change.temperature < 1e6)) return;
    if ("cut" in change && !(change.cut >= 0 && change.cut <= 1)) return;
    Object.assign(state, change);
    if (now === null || "temperature" in change || "network" in change) {
      now = atTemperature(state.network, state.temperature);
      now.reliability = withTemperature && reliabilityOf(state.network.held, state.network.truth, state.network.classes, state.temperature);
    }
    now.falseAlarms = above(now.normal, state.cut); now.found = above(now.odd, state.cut);
    say();
    for (const { plot } of Object.values(figures)) redraw.get(plot)();
  }
  function say() {
    const T = short(state.temperature), falseAlarms = part(now.falseAlarms, now.normal.length), found = part(now.found, now.odd.length), own = now.reliability;
    choice.value = NETWORKS.indexOf(state.network);
    slider.value = nearestStep(state.temperature); slider.setAttribute("aria-valuetext", `T = ${T}`);
    cutSlider.value = Math.round(1000 * state.cut / TOP); cutSlider.setAttribute("aria-valuetext", t("threshold {cut}", { cut: short(state.cut) }));
    if (document.activeElement !== degree) degree.value = +state.temperature.toPrecision(4);
    if (document.activeElement !== cutNumber) cutNumber.value = +state.cut.toFixed(6);
    fitted.textContent = t("fitted: {value}", { value: state.network.fitted.toFixed(2) });
    const entries = [["AUC", now.auc.toFixed(4)], ...(own ? [[t("expected calibration error"), own.error.toFixed(4)]] : []), [t("false alarms"), falseAlarms, "long"], [t("anomalies found"), found, "long"]];
    numbers.replaceChildren(...entries.map(([name, value, kind]) => made("div", { class: kind ?? null }, made("dt", {}, name), made("dd", {}, value))));
    figures.histogram.title.textContent = t("Above {cut}, {found} of the anomalies and {false} of the normal pictures raise an alarm", { cut: short(state.cut), found: percent(now.found / now.odd.length), false: percent(now.falseAlarms / now.normal.length) });
    figures.histogram.note.replaceChildren(...key(["normal", t("normal")], ["odd", t("anomalous")]));
    figures.roc.title.textContent = withTemperature ? t("At T = {T} the AUC is {auc}", { T, auc: now.auc.toFixed(4) }) : t("Over all thresholds the AUC is {auc}", { auc: now.auc.toFixed(4) });
    figures.roc.note.textContent = t("The point is the threshold.");
    if (own) {
      const values = { confidence: percent(own.confidence), accuracy: percent(own.accuracy) };
      figures.reliability.title.textContent = own.confidence > own.accuracy ? t("Over-confident: mean confidence {confidence}, accuracy {accuracy}", values) : t("Under-confident: mean confidence {confidence}, accuracy {accuracy}", values);
      figures.reliability.note.textContent = t("{n} held-out normal pictures; the area of a dot is its share of them. On the dashed line, confidence equals accuracy.", { n: count(state.network.truth.length) });
    }
    for (const { title, plot } of Object.values(figures)) plot.setAttribute("aria-label", title.textContent);
  }
  const later = (act) => { let queued = false; return () => { if (!queued) { queued = true; requestAnimationFrame(() => { queued = false; act(); }); } }; };
  slider.addEventListener("input", later(() => { stop(); set({ temperature: STEPS[+slider.value] }); }));
  cutSlider.addEventListener("input", later(() => set({ cut: TOP * cutSlider.value / 1000 })));
  degree.addEventListener("change", () => { stop(); set({ temperature: +degree.value }); });
  cutNumber.addEventListener("change", () => set({ cut: +cutNumber.value }));
  choice.addEventListener("change", () => set({ network: NETWORKS[+choice.value] }));
  at(place).append(made("div", { class: "bench" },
    withTemperature ? made("div", { class: "controls" }, made("div", {}, made("label", { for: choice.id }, t("Network:"), " "), choice)) : null,
    withTemperature ? knob(t("Temperature T"), slider, degree, play, ...facts.temperatures.map((value) => press(short(value), () => { stop(); set({ temperature: value }); }, { "aria-label": `T = ${short(value)}` })), fitted) : null,
    knob(t("Threshold"), cutSlider, cutNumber, made("span", { class: "soft" }, t("false alarms:")), ...facts.rates.map((rate) => press(percent(rate), () => set({ cut: cutAt(now.normal, rate) }), { "aria-label": t("{rate} false alarms", { rate: percent(rate) }) }))),
    numbers, made("div", { class: withTemperature ? "three" : "pair" }, ...Object.values(figures).map(({ title, note, plot }) => made("figure", {}, title, plot, note)))));
  now = atTemperature(state.network, 1);
  set({ temperature: 1, cut: cutAt(now.normal, 0.05) });
  return { state, set, now: () => now };
}

/* --- the most and the least anomalous --- */
function extremes() {
  const titles = [t("Most anomalous of all"), t("Least anomalous of all"), t("Normal pictures with the highest scores: the first false alarms"), t("Anomalies with the lowest scores: the last to be found")];
  at("extremes").replaceChildren(...facts.extremes.map((rows, k) => made("div", {}, made("h3", {}, titles[k]), made("div", { class: "strip" }, ...rows.map((i) => made("div", { class: "digit" },
    thumbnail(i, 56, labelled(i)), made("b", { class: colourOf(i) }, NAMES[LABEL[i]]), short(+AT_ONE[0].scores[i].toPrecision(2))))))));
}

/* --- maps of the features --- */
let pinned = -1, pointed = -1, mapNetwork = 0;
const looked = () => (pointed >= 0 ? pointed : pinned);
const MAPS = NETWORKS.map(({ places, densest }) => {
  const xs = places.filter((_, k) => k % 2 === 0), ys = places.filter((_, k) => k % 2 === 1);
  return { xs, ys, ends: [xs, ys].map((values) => [Math.min(...values), Math.max(...values)]), densest };
});
function placesIn({ xs, ys, ends }, w, h) {
  const edge = 14, scale = Math.min((w - 2 * edge) / (ends[0][1] - ends[0][0] || 1), (h - 2 * edge) / (ends[1][1] - ends[1][0] || 1));
  const middle = ends.map(([low, high]) => (low + high) / 2);
  return [(m) => w / 2 + scale * (xs[m] - middle[0]), (m) => h / 2 - scale * (ys[m] - middle[1])];
}
function drawMap(pen, w, h, own, big) {
  const [x, y] = placesIn(own, w, h), size = parseFloat(pen.font);
  pen.textAlign = "center"; pen.textBaseline = "middle"; pen.lineWidth = 1.25;
  if (big) pen.font = `600 ${0.85 * size}px system-ui, sans-serif`;
  pen.globalAlpha = 0.8;
  for (let m = 0; m < MAPPED.length; m += 1) {
    const i = MAPPED[m], px = x(m), py = y(m);
    pen.fillStyle = pen.strokeStyle = markInk[colourOf(i)];
    if (big) pen.fillText(NAMES[LABEL[i]], px, py);
    else if (isOdd(i)) { pen.beginPath(); pen.moveTo(px - 2.5, py - 2.5); pen.lineTo(px + 2.5, py + 2.5); pen.moveTo(px + 2.5, py - 2.5); pen.lineTo(px - 2.5, py + 2.5); pen.stroke(); }
    else { pen.beginPath(); pen.arc(px, py, 2, 0, 7); pen.fill(); }
  }
  pen.globalAlpha = 1;
  if (!big) {
    pen.font = `700 ${1.3 * size}px system-ui, sans-serif`; pen.lineWidth = 4; pen.strokeStyle = ink("card");
    own.densest.forEach((m, label) => { if (m === null) return; pen.fillStyle = ink(label >= facts.n_normal_labels ? "odd-text" : "normal-text"); pen.strokeText(NAMES[label], x(m), y(m)); pen.fillText(NAMES[label], x(m), y(m)); });
  }
  const m = looked();
  if (m < 0) return;
  const side = big ? 84 : 56, left = Math.min(w - side - 2, Math.max(2, x(m) + 14)), top = Math.min(h - side - 2, Math.max(2, y(m) - side / 2));
  pen.strokeStyle = ink("ink"); pen.lineWidth = 2.5; pen.beginPath(); pen.arc(x(m), y(m), 9, 0, 7); pen.stroke();
  pen.fillStyle = ink("card"); pen.fillRect(left, top, side, side);
  pen.strokeStyle = ink(colourOf(MAPPED[m])); pen.lineWidth = 2; pen.strokeRect(left, top, side, side);
  digit(pen, MAPPED[m], left, top, side);
}
const markInk = {};  // the colours of a thousand marks are not looked up for each
function lookUpColours() { for (const name of ["normal", "odd"]) markInk[name] = ink(name); }
const mapCanvases = [];
function mapOf(k, height, label, big = false) {
  const own = () => MAPS[k()], element = canvas(height, label, (pen, w, h) => { lookUpColours(); drawMap(pen, w, h, own(), big); }, big);
  const nearest = (event) => {
    const box = element.getBoundingClientRect(), [x, y] = placesIn(own(), box.width, box.height), px = event.clientX - box.left, py = event.clientY - box.top;
    let best = -1, least = 20;
    for (let m = 0; m < MAPPED.length; m += 1) { const away = Math.hypot(x(m) - px, y(m) - py); if (away < least) { least = away; best = m; } }
    return best;
  };
  element.addEventListener("mousemove", (event) => look(nearest(event)));
  element.addEventListener("mouseleave", () => look(-1));
  element.addEventListener("click", (event) => { const m = nearest(event); pinned = m === pinned ? -1 : m; look(pointed, true); });
  if (big) element.addEventListener("keydown", (event) => {
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (way) look(neighbour(own(), Math.max(0, looked()), way));
    else if (event.key === "Enter") { pinned = looked() === pinned ? -1 : looked(); look(-1, true); }
    else if (event.key === "Escape") { pinned = -1; look(-1, true); }
    else return;
    event.preventDefault();
  });
  mapCanvases.push(element);
  return element;
}
/* The nearest mark within 45° of a direction. */
function neighbour({ xs, ys }, from, [right, up]) {
  let best = from, least = Infinity;
  for (let m = 0; m < MAPPED.length; m += 1) {
    const dx = xs[m] - xs[from], dy = ys[m] - ys[from], along = right * dx + up * dy, aside = Math.abs(right ? dy : dx), away = Math.hypot(dx, dy);
    if (along > 0 && aside <= along && away < least) { least = away; best = m; }
  }
  return best;
}
let waiting = false;
function look(m, always = false) {
  if (m === pointed && !always) return;
  pointed = m;
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; showOne(); for (const element of mapCanvases) redraw.get(element)(); });
}
function showOne() {
  const m = looked(), i = m < 0 ? -1 : MAPPED[m], rows = made("table");
  if (m < 0) { at("one").replaceChildren(made("p", { class: "soft" }, t("Point at a mark, or move to it with the arrow keys."))); return; }
  table(rows, [t("network"), t("taken for"), "1 − MSP", t("normal pictures that score as high")], NETWORKS.map((network, k) => {
    const own = Array.from(network.z.subarray(i * network.classes, (i + 1) * network.classes)), score = AT_ONE[k].scores[i];
    const high = NORMAL_ROWS.reduce((sum, row) => sum + (AT_ONE[k].scores[row] >= score), 0);
    return [nameOf(network), NAMES[own.indexOf(Math.max(...own))], short(+score.toPrecision(2)), percent(high / NORMAL_ROWS.length)];
  }));
  at("one").replaceChildren(thumbnail(i, 168, labelled(i)), made("h3", {}, made("b", { class: colourOf(i) }, labelled(i))), rows);
  drawAllIn(at("one"));
}
const drawAllIn = (area) => { for (const element of area.querySelectorAll("canvas")) redraw.get(element)?.(); };
function maps() {
  at("map-network").append(...NETWORKS.map((network, k) => made("option", { value: k }, nameOf(network))));
  const title = () => {
    const network = NETWORKS[mapNetwork];
    at("map-title").textContent = t("{what}: separation {value}", { what: nameOf(network), value: shortOf(network.separation) });
    at("map").firstChild.setAttribute("aria-label", t("t-SNE map of the features. {title}.", { title: at("map-title").textContent }));
  };
  at("map").append(mapOf(() => mapNetwork, 540, "", true));
  at("map-network").addEventListener("change", () => { mapNetwork = +at("map-network").value; title(); drawAllIn(at("map")); });
  at("map-note").replaceChildren(...key(["normal", t("normal")], ["odd", t("anomalous")]), " · ", t("{n} of {all} test pictures, drawn at random.", { n: count(MAPPED.length), all: count(N) }));
  title(); pinned = Math.max(0, MAPPED.findIndex((i) => isOdd(i))); showOne();
}
const shortOf = (value) => (value === null ? "∞" : value.toFixed(2));

/* --- label smoothing beside temperature --- */
function histogramOf(title, own, height, line = null) {
  const text = t("{what}: AUC {auc}", { what: title, auc: own.auc.toFixed(3) });
  return made("figure", {}, made("h3", {}, text), canvas(height, text, (pen, w, h) => drawShares(pen, w, h, { kinds: own.kinds, low: 0, high: TOP, xText: "1 − MSP", yText: "", line })));
}
function sideBySide() {
  at("smoothed").replaceChildren(...NETWORKS.map((network, k) => histogramOf(nameOf(network), AT_ONE[k], 240, network.smoothing * TOP)));
  const map = (k, title) => {
    const text = t("{what}: separation {value}", { what: title, value: shortOf(NETWORKS[k].separation) });
    return made("figure", {}, made("h3", {}, text), mapOf(() => k, 230, t("t-SNE map of the features. {title}.", { title: text })));
  };
  const heated = 1, titles = facts.temperatures.map((value) => t("{network}, T = {T}", { network: nameOf(NETWORKS[heated]), T: short(value) }));
  at("levels").replaceChildren(...NETWORKS.map((network, k) => map(k, nameOf(network))), ...NETWORKS.map((network, k) => histogramOf(nameOf(network), AT_ONE[k], 200)));
  at("heated").replaceChildren(...titles.map((title) => map(heated, title)), ...facts.temperatures.map((value, k) => histogramOf(titles[k], atTemperature(NETWORKS[heated], value), 200)));
}

/* --- rotations --- */
let drawn = 0;  // how often other pictures were asked for
/* Random numbers that are the same on every visit. */
function* chance(seed) { let state = seed >>> 0; for (;;) { state = (Math.imul(state, 1664525) + 1013904223) >>> 0; yield state / 2 ** 32; } }
function shuffled(rows, seed) {
  const found = [...rows], draw = chance(seed);
  for (let k = found.length - 1; k > 0; k -= 1) { const other = Math.floor(draw.next().value * (k + 1)); [found[k], found[other]] = [found[other], found[k]]; }
  return found;
}
const isMistaken = ({ turns, views }, i) => { for (let v = 0; v < views; v += 1) if (turns[i * views + v] !== v) return true; return false; };
const GRID_ROWS = 6;
function grid() {
  const rotnet = ROTNETS[+at("grid-network").value], only = at("grid-only").value === "mistaken";
  const candidates = only ? Array.from(PICTURED).filter((i) => isMistaken(rotnet, i)) : Array.from(MAPPED);
  at("grid").replaceChildren(...[false, true].map((odd) => {
    const labels = NAMES.map((_, label) => label).filter((label) => (label >= facts.n_normal_labels) === odd);
    const queues = labels.map((label) => shuffled(candidates.filter((i) => LABEL[i] === label), 7 + label)), rows = [];
    for (let k = 0; k < GRID_ROWS * labels.length * 4 && rows.length < GRID_ROWS; k += 1) {
      const of = queues[k % labels.length], next = of[(Math.floor(k / labels.length) + drawn * Math.ceil(GRID_ROWS / labels.length)) % of.length];
      if (next !== undefined && !rows.includes(next)) rows.push(next);
    }
    return made("figure", {}, made("h3", {}, odd ? t("Anomalous digits") : t("Normal digits")), made("div", { class: "turned" }, ...rows.flatMap((i) => Array.from({ length: rotnet.views }, (_, v) => {
      const guess = degrees(rotnet.turns[i * rotnet.views + v], rotnet.views), truth = degrees(v, rotnet.views);
      return made("div", { class: guess === truth ? "digit" : "digit mistaken" }, thumbnail(i, 52, t("{label}, rotated by {truth}, taken for {guess}", { label: labelled(i), truth, guess }), v, rotnet.views),
        made("span", {}, made("b", { class: "predicted" }, guess), made("b", { class: "true" }, truth)));
    }))), rows.length ? null : made("p", {}, t("No such picture is among those shown.")));
  }));
  drawAllIn(at("grid"));
  distances();
}
function distances() {
  const rotnet = ROTNETS[+at("grid-network").value], scores = distancesOf(rotnet), normal = rising(scores, NORMAL_ROWS), odd = rising(scores, ODD_ROWS), step = 1 / rotnet.views, most = Math.floor(rotnet.views / 2);
  const low = -step / 2, high = most + step / 2, bins = Math.round((high - low) / step), kinds = [[sharesOf(normal, low, high, bins), "normal"], [sharesOf(odd, low, high, bins), "odd"]], curve_ = rocOf(normal, odd);
  at("distance").replaceChildren(canvas(280, "", (pen, w, h) => drawShares(pen, w, h, { kinds, low, high, xText: t("mean circular distance, in turns of 90°"), yText: t("share of its kind") })));
  at("distance-roc").replaceChildren(canvas(280, "", (pen, w, h) => drawRoc(pen, w, h, { curves: [{ points: curve_.points, colour: "ink" }], xText: t("false alarms among normal pictures"), yText: t("anomalies found") })));
  at("distance-title").textContent = t("The score is exactly 0 for {normal} of the normal and {odd} of the anomalous pictures", { normal: percent(1 - above(normal, 0) / normal.length), odd: percent(1 - above(odd, 0) / odd.length) });
  at("distance-roc-title").textContent = t("{name}: AUC {auc}", { name: rotnet.name, auc: curve_.auc.toFixed(4) });
  at("distance-note").replaceChildren(...key(["normal", t("normal")], ["odd", t("anomalous")]));
  for (const id of ["distance", "distance-roc"]) { at(id).firstChild.setAttribute("aria-label", at(`${id}-title`).textContent); drawAllIn(at(id)); }
}
const rowsOf = (label) => (label < facts.n_normal_labels ? NORMAL_ROWS : ODD_ROWS).filter((i) => LABEL[i] === label);
function confusions() {
  const rotnet = ROTNETS[+at("why-network").value], names = Array.from({ length: rotnet.views }, (_, v) => degrees(v, rotnet.views));
  const tableOf = (label, colour) => {
    const found = confusionOf(rotnet, rowsOf(label)), right = found.reduce((sum, line, v) => sum + line[v], 0) / rotnet.views;
    const shade = (value) => `background: color-mix(in srgb, var(--${colour}) ${Math.round(100 * value)}%, var(--card)); color: var(--${value > 0.5 ? "card" : "ink"})`;
    const body = found.map((line, v) => made("tr", {}, made("th", { scope: "row" }, names[v]), ...Array.from(line, (value) => made("td", { style: shade(value) }, String(Math.round(100 * value))))));
    return made("table", {}, made("caption", {}, made("b", { class: colour }, t("{label}: {share} right", { label: NAMES[label], share: percent(right) }))),
      made("thead", {}, made("tr", {}, made("td"), ...names.map((one) => made("th", { scope: "col" }, one)))), made("tbody", {}, ...body));
  };
  const group = (colour, title, labels) => [made("h4", {}, title), made("div", { class: "confusions" }, ...labels.map((label) => tableOf(label, colour)))];
  const labels = NAMES.map((_, label) => label), n = facts.n_normal_labels;
  at("confusions").replaceChildren(...group("normal", t("Normal digits"), labels.slice(0, n)), ...group("odd", t("Anomalous digits"), labels.slice(n)));
}
function centre() {
  const centres = unpacked(facts.centres), far = Float64Array.from(centres, Math.abs).sort(), reach = Math.max(1.2, far[Math.floor(0.998 * (far.length - 1))]);
  const inside = (rows) => rows.filter((i) => centres[2 * i] > 0 && centres[2 * i + 1] > 0).length / rows.length;
  const title = t("Below and to the right of the middle: {normal} of the normal and {odd} of the anomalous pictures", { normal: percent(inside(NORMAL_ROWS)), odd: percent(inside(ODD_ROWS)) });
  at("centre-title").textContent = title;
  at("centre").append(canvas(420, title, (pen, w, h) => {
    const size = parseFloat(pen.font), side = Math.min(w - 5 * size, h - 5 * size), box = { x: 3.6 * size, y: 2 * size, w: side, h: side }, x = (v) => box.x + side * (v + reach) / (2 * reach), y = (v) => box.y + side * (v + reach) / (2 * reach);
    pen.fillStyle = ink("wash"); pen.fillRect(x(0), y(0), side / 2, side / 2);
    const step = niceStep(2 * reach), ticks = [];
    for (let v = -Math.floor(reach / step) * step; v <= reach; v += step) ticks.push(+v.toFixed(6) + 0);
    axes(pen, box, ticks.map((v) => [x(v), short(v)]), ticks.map((v) => [y(v), short(v)]), t("pixels right of the middle"), t("pixels below the middle"));
    pen.globalAlpha = 0.35; lookUpColours();
    for (let i = 0; i < N; i += 1) { const px = centres[2 * i + 1], py = centres[2 * i]; if (Math.abs(px) > reach || Math.abs(py) > reach) continue; pen.fillStyle = markInk[colourOf(i)]; pen.fillRect(x(px) - 1, y(py) - 1, 2, 2); }
    pen.globalAlpha = 1; pen.strokeStyle = ink("ink"); pen.lineWidth = 1.25;
    pen.beginPath(); pen.moveTo(x(0), box.y); pen.lineTo(x(0), box.y + side); pen.moveTo(box.x, y(0)); pen.lineTo(box.x + side, y(0)); pen.stroke();
  }));
}
function closed() {
  const bars = ROTNETS.flatMap((rotnet) => [[rotnet.name, NORMAL_ROWS, "normal"], [rotnet.name, ODD_ROWS, "odd"]].map(([name, rows, colour]) => ({ name, colour, value: mistakenOf(rotnet, rows) })));
  const label = bars.map((bar) => t("{name}, {kind}: {share}", { name: bar.name, kind: bar.colour === "odd" ? t("anomalous") : t("normal"), share: percent(bar.value) })).join("; ");
  at("mistakes").append(canvas(280, label, (pen, w, h) => {
    const box = plotBox(pen, w, h), most = Math.max(0.1, ...bars.map((bar) => bar.value)) * 1.15, y = (v) => box.y + box.h * (1 - v / most), step = niceStep(most), ys = [], wide = box.w / (bars.length + ROTNETS.length);
    for (let v = 0; v <= most; v += step) ys.push([y(v), percent(v)]);
    axes(pen, box, ROTNETS.map((rotnet, k) => [box.x + wide * (3 * k + 1.5), rotnet.name]), ys, "", "");
    bars.forEach(({ colour, value }, k) => {
      const x = box.x + wide * (k + Math.floor(k / 2) + 0.5);
      pen.fillStyle = ink(colour); pen.fillRect(x + 2, y(value), wide - 4, y(0) - y(value));
      pen.fillStyle = ink("ink"); pen.textAlign = "center"; pen.textBaseline = "bottom"; pen.fillText(percent(value), x + wide / 2, y(value) - 3);
    });
  }), made("figcaption", {}, ...key(["normal", t("normal")], ["odd", t("anomalous")])));
  const curves_ = ROTNETS.map((rotnet, k) => { const scores = distancesOf(rotnet); return { ...rocOf(rising(scores, NORMAL_ROWS), rising(scores, ODD_ROWS)), colour: k ? "ink" : "soft", dash: k ? [] : [8, 4] }; });
  const title = t("In the first run the AUC goes from {before} to {after}", { before: curves_[0].auc.toFixed(3), after: curves_[1].auc.toFixed(3) });
  at("moved-title").textContent = title;
  at("moved").append(canvas(280, title, (pen, w, h) => drawRoc(pen, w, h, { curves: curves_, xText: t("false alarms among normal pictures"), yText: t("anomalies found") })),
    made("figcaption", {}, t("Dashed: {before}. Solid: {after}.", { before: ROTNETS[0].name, after: ROTNETS[1].name })));
}
function curves() {
  const looks = [["normal", []], ["normal", [8, 4]], ["normal", [2, 4]], ["normal", [8, 3, 2, 3]], ["ink", []], ["ink", [8, 4]]];
  const own = facts.curves.map((one, k) => { const flat = unpacked(one.points); return { name: one.name, auc: one.auc, colour: looks[k][0], dash: looks[k][1], points: Array.from({ length: flat.length / 2 }, (_, n) => [flat[2 * n], flat[2 * n + 1]]) }; });
  const entries = own.map((one) => t("{name}: AUC {auc}", { name: one.name, auc: one.auc.toFixed(3) }));
  at("curves").append(canvas(360, entries.join("; "), (pen, w, h) => drawRoc(pen, w, h, { curves: own, xText: t("false alarms among normal pictures"), yText: t("anomalies found") })));
  const sample = ({ colour, dash }) => {
    const element = canvas(12, "", (pen, w) => { pen.strokeStyle = ink(colour); pen.lineWidth = 2.5; pen.setLineDash(dash); pen.beginPath(); pen.moveTo(0, 6); pen.lineTo(w, 6); pen.stroke(); });
    element.setAttribute("aria-hidden", "true");
    return element;
  };
  at("curves-key").replaceChildren(...own.map((one, k) => made("div", {}, sample(one), entries[k])));
}

/* --- the walk through the sections --- */
const SECTIONS = [...document.querySelectorAll("section.step")];
let current = 0;
function contents() {
  at("steps").append(...SECTIONS.map((section, k) => made("li", {}, made("a", { href: `#${section.id}` }, made("span", {}, String(k + 1)), made("span", {}, section.dataset.name)))));
  SECTIONS.forEach((section, k) => {
    const { finding, answer, gains: found } = facts.sections[section.id], title = section.querySelector("h2");
    title.id = `${section.id}-title`; title.tabIndex = -1; title.textContent = `${k + 1}. ${finding}`;
    section.setAttribute("aria-labelledby", title.id);
    section.querySelector(".answer").append(...answer.map((text) => made("p", {}, text)));
    gains(section.id, found);
  });
}
function reach() {
  const line = window.innerHeight / 3, last = document.documentElement.scrollHeight - window.innerHeight - window.scrollY < 2;
  const first = SECTIONS.findIndex((section) => section.getBoundingClientRect().bottom > line);
  here(last ? SECTIONS.length - 1 : Math.max(0, first));
}
function here(k) {
  current = k;
  [...at("steps").querySelectorAll("a")].forEach((link, n) => { if (n === k) link.setAttribute("aria-current", "step"); else link.removeAttribute("aria-current"); });
}
function go(k) {
  const to = Math.min(SECTIONS.length - 1, Math.max(0, k));
  SECTIONS[to].querySelector("h2").focus({ preventScroll: true });
  SECTIONS[to].scrollIntoView({ block: "start" });
  here(to);
}
function answer() {
  const element = SECTIONS[current].querySelector("details");
  element.open = !element.open;
  if (element.open) element.scrollIntoView({ block: "nearest" });
}
document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, canvas")) return;
  if (event.key === "ArrowRight") go(current + 1);
  else if (event.key === "ArrowLeft") go(current - 1);
  else if (event.key.toLowerCase() === "a" || event.code === "KeyA") answer();  // with a Korean keyboard the key is another
  else return;
  event.preventDefault();
});
window.addEventListener("scroll", reach, { passive: true });

const digitsOf = (odd) => made("b", { class: odd ? "odd" : "normal" }, NAMES.filter((_, label) => (label >= facts.n_normal_labels) === odd).join(", "));
at("about").replaceChildren(...nodes("A network learns to classify kinds of normal pictures: the digits {normal}. Pictures that it cannot place in any of these classes are anomalies: here the digits {odd}, which it never saw in training. The test data ({data}) has {n} normal and {m} anomalous pictures.",
  { normal: digitsOf(false), odd: digitsOf(true), data: bdi(facts.data), n: count(NORMAL_ROWS.length), m: count(ODD_ROWS.length) }), " ",
tn("Every exercise was run once.", "Every exercise was run {n} times, each time with other random numbers; the figures show the first run.", facts.rows[0].runs.length));
at("foot").textContent = t("Written by oddkind {version}.", { version: facts.oddkind });
for (const id of ["grid-network", "why-network"]) at(id).append(...ROTNETS.map((rotnet, k) => made("option", { value: k }, rotnet.name)));
for (const id of ["grid-network", "grid-only"]) at(id).addEventListener("change", () => { drawn = 0; grid(); });
at("grid-more").addEventListener("click", () => { drawn += 1; grid(); });
at("why-network").addEventListener("change", confusions);
document.title = document.querySelector("h1").textContent;
contents(); results();
const BENCHES = { first: bench("first-bench", false), second: bench("second-bench", true) };
extremes(); maps(); sideBySide(); grid(); confusions(); centre(); closed(); curves(); reach();
let opened = [];
watchTheLook(() => {
  if (printing) { opened = [...document.querySelectorAll("details:not([open])")]; opened.forEach((one) => { one.open = true; }); } else { opened.forEach((one) => { one.open = false; }); opened = []; }
});
sheet.addEventListener("load", drawAll);
sheet.src = facts.pictures.png;
