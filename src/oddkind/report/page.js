/* --- facts --- */
const F = facts.files, N = F.names.length;
const P = unpacked(F.p), SCORE = unpacked(F.score), LABEL = unpacked(F.label), TRUTH = unpacked(F.truth);
const COUNTED = unpacked(F.counted), LEARNT = unpacked(F.learnt), GROUP = F.group && unpacked(F.group);
const DETAIL = new Map(facts.details.map((one) => [one.row, one]));
const RANKED = Int32Array.from({ length: N }, (_, i) => i).sort((a, b) => P[a] - P[b] || SCORE[b] - SCORE[a] || a - b);
const H = facts.held_out, ONE_FOLD = H.folds === 1;
const BOUNDS = H.bounds && unpacked(H.bounds), WEIGHTS = H.bounds && unpacked(H.weights);
const HELD = H.bounds && unpacked(H.scores), HELD_LABEL = H.bounds && unpacked(H.label);
const SMALL_CHANCE = 0.01;
let rate = facts.rate, selected = RANKED[0], chosen = -1;  // chosen: the label of the figures, -1 for all

/* --- numbers, as Python computes them --- */
const isAlarm = (i) => P[i] <= rate * (1 + 1e-9);
const minSize = (r) => Math.ceil(Math.round(1e9 / r) / 1e9) - 1;
const nameOfLabel = (label) => (label < 0 ? "" : F.labels[label]);
function heldOut(label) {
  if (!H.per_label) return H.sizes[""];
  const sizes = Object.values(H.sizes);
  return label < 0 ? Math.min(...sizes) : H.sizes[nameOfLabel(label)] ?? Math.min(...sizes);
}
function logGamma(x) {
  const c = [0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059, 12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7];
  const y = x - 1, t = y + 7.5;
  let sum = c[0];
  for (let i = 1; i < 9; i += 1) sum += c[i] / (y + i);
  return 0.5 * Math.log(2 * Math.PI) + (y + 0.5) * Math.log(t) - t + Math.log(sum);
}
/* The chance of so many false alarms or more: oddkind.false_alarm_test, a beta-binomial tail. */
function chanceOf(alarms, n, held, r) {
  const a = Math.floor(Math.round(r * (held + 1) * 1e9) / 1e9), b = held + 1 - a;
  if (held < minSize(r) || a < 1 || b < 1) return null;
  const logBeta = (x, y) => logGamma(x) + logGamma(y) - logGamma(x + y), base = logBeta(a, b);
  let sum = 0;
  for (let k = Math.max(0, alarms); k <= n; k += 1) sum += Math.exp(-Math.log(n + 1) - logBeta(n - k + 1, k + 1) + logBeta(k + a, n - k + b) - base);
  return Math.min(1, sum);
}
/* What the slider moves: alarms, false alarms and detections, of all files or of one label. */
function counts(label) {
  const found = { files: 0, alarms: 0, normal: 0, falseAlarms: 0, anomalous: 0, found: 0, groups: 0, falseGroups: 0 };
  const sizes = new Map(), odd = new Map();
  for (let i = 0; i < N; i += 1) {
    if (LEARNT[i] || (label >= 0 && LABEL[i] !== label)) continue;
    const alarm = isAlarm(i);
    found.files += 1; found.alarms += alarm;
    if (!COUNTED[i]) continue;
    if (TRUTH[i] === 1) { found.anomalous += 1; found.found += alarm; }
    else {
      found.normal += 1; found.falseAlarms += alarm;
      if (GROUP) { sizes.set(GROUP[i], (sizes.get(GROUP[i]) || 0) + 1); odd.set(GROUP[i], (odd.get(GROUP[i]) || 0) + alarm); }
    }
  }
  found.groups = GROUP ? sizes.size : found.normal;
  found.falseGroups = found.falseAlarms;
  if (GROUP) {
    let sum = 0;
    for (const [group, n] of sizes) sum += odd.get(group) / n;
    found.falseGroups = Math.floor(sum + 1e-9);
  }
  return found;
}
/* The score above which an alarm is raised, from the held-out scores and their ties; null where there is no single one. */
function threshold(label) {
  if (!BOUNDS || (H.per_label && label < 0)) return null;
  const own = [];
  for (let i = 0; i < BOUNDS.length; i += 1) if (!H.per_label || H.labels[HELD_LABEL[i]] === nameOfLabel(label)) own.push([BOUNDS[i], WEIGHTS[i]]);
  const total = own.reduce((sum, one) => sum + one[1], 0);
  if (Math.round(total) < minSize(rate)) return null;
  own.sort((a, b) => b[0] - a[0]);
  const allowed = rate * (1 + total) - 1 + 1e-9;
  let sum = 0;
  for (const [bound, weight] of own) { sum += weight; if (sum > allowed) return bound; }
  return own[own.length - 1][0];
}
function roc(label) {
  const rising = (odd_) => Float64Array.from(RANKED.filter((i) => COUNTED[i] && (TRUTH[i] === 1) === odd_ && (label < 0 || LABEL[i] === label)), (i) => SCORE[i]).sort();
  const normal = rising(false), odd = rising(true);
  return normal.length && odd.length ? rocOf(normal, odd) : null;
}
const CURVES = new Map();
const curveOf = (label) => { if (!CURVES.has(label)) CURVES.set(label, roc(label)); return CURVES.get(label); };

/* --- text --- */
const many = (n) => (facts.judged === "blocks" ? tn("{n} block", "{n} blocks", n) : tn("{n} file", "{n} files", n));
const badge = (odd) => made("span", { class: odd ? "badge odd" : "badge" }, odd ? t("▲ alarm") : t("● no alarm"));
/* --- the worklist --- */
const ROW = 48;
let listed = RANKED;
function filter() {
  const part = at("search").value.trim().toLocaleLowerCase(), label = +at("only-label").value, only = at("only").value;
  listed = RANKED.filter((i) => (!part || F.names[i].toLocaleLowerCase().includes(part)) && (label === -2 || LABEL[i] === label)
    && (!only || (only === "alarm" ? isAlarm(i) : only === "missed" ? TRUTH[i] === 1 && !isAlarm(i) : TRUTH[i] === 0 && isAlarm(i))));
  at("rows").style.height = `${listed.length * ROW}px`;
  const of = { n: count(listed.length), files: many(N) };
  at("shown").textContent = facts.clips ? t("{n} of {files}. Arrow keys move, Enter goes to the reasons, Escape comes back; P plays this one, N the normal one.", of)
    : t("{n} of {files}. Arrow keys move, Enter goes to the reasons, Escape comes back.", of);
  rows();
}
function rows() {
  const list = at("list"), first = printing ? 0 : Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
  const last = printing ? Math.min(listed.length, 40) : Math.min(listed.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 4);
  const made_ = [];
  for (let k = first; k < last; k += 1) made_.push(row(listed[k], k));
  at("rows").replaceChildren(...made_);
  const active = listed.indexOf(selected);
  if (active >= first && active < last) list.setAttribute("aria-activedescendant", `row-${selected}`); else list.removeAttribute("aria-activedescendant");
}
function row(i, place) {
  const cut = F.names[i].lastIndexOf("/") + 1, label = nameOfLabel(LABEL[i]);
  const folder = [F.names[i].slice(0, cut), label].filter(Boolean);
  const element = made("div", { class: "row", role: "option", id: `row-${i}`, "aria-selected": String(i === selected), "aria-setsize": listed.length, "aria-posinset": place + 1, title: F.names[i] },
    thumbnail(i),
    made("span", { class: "name" }, bdi(F.names[i].slice(cut)), made("span", { class: "soft" }, ...folder.flatMap((text, n) => [n ? " · " : null, n || folder.length === 1 ? made("bdi", { style: "display:inline" }, text) : made("bdi", { style: "display:inline" }, text)]))),
    made("span", { class: "p" }, `p ${short(P[i])}`), LEARNT[i] ? made("span", { class: "soft" }, t("learnt from")) : badge(isAlarm(i)));
  element.style.top = `${place * ROW}px`;
  element.addEventListener("click", () => { select(i); at("list").focus({ preventScroll: true }); });
  return element;
}
function thumbnail(i) {
  const detail = DETAIL.get(i);
  if (!detail) return made("span", { class: "none" });
  const drawing = detail.drawing;
  if (drawing.kind === "picture") return made("img", { src: drawing.sample, alt: "" });
  const element = made("canvas", { width: 104, height: 72, "aria-hidden": "true" }), pen = element.getContext("2d");
  const picture = detail.sound ? detail.sound.sample : drawing.kind === "spectrogram" ? drawing.sample : null;
  if (picture) { spectrogram(pen, picture, null, { x: 0, y: 0, w: 104, h: 72 }); return element; }
  const of = drawing.kind === "signals" ? drawing : drawing.parts[0], values = unpacked(of.sample), n = of.sample.shape.at(-1);
  pen.strokeStyle = ink("ink"); pen.lineWidth = 2.5;
  curve(pen, values.subarray(0, n), { x: 2, y: 6, w: 100, h: 60 }, Math.min(...values.subarray(0, n)), Math.max(...values.subarray(0, n)));
  return element;
}
function select(i, { reveal = true } = {}) {
  selected = i;
  const place = listed.indexOf(i), list = at("list");
  if (reveal && place >= 0) {
    if (place * ROW < list.scrollTop) list.scrollTop = place * ROW;
    else if ((place + 1) * ROW > list.scrollTop + list.clientHeight) list.scrollTop = (place + 1) * ROW - list.clientHeight;
  }
  rows(); reasons(); drawAll();
}
function move(by) {
  const place = listed.indexOf(selected), next = Math.min(listed.length - 1, Math.max(0, place < 0 ? 0 : place + by));
  if (listed.length) select(listed[next]);
}

/* --- the reasons --- */
function reasons() {
  const i = selected, detail = DETAIL.get(i), area = at("why"), pair = (name, value) => made("div", {}, made("dt", {}, name), made("dd", {}, value));
  const truth = { "-1": null, 0: t("normal"), 1: t("anomalous") }[TRUTH[i]];
  const parts = [
    made("div", { class: "title" }, made("h3", {}, bdi(F.names[i])), LEARNT[i] ? null : badge(isAlarm(i))),
    made("dl", { class: "numbers" }, pair(t("p-value"), short(P[i])), pair(t("score"), short(SCORE[i])), LABEL[i] < 0 ? null : pair(t("label"), bdi(nameOfLabel(LABEL[i]))), truth ? pair(t("known to be"), truth) : null),
  ];
  if (LEARNT[i]) parts.push(made("p", { class: "note" }, t("The model learnt from this one or held it out, so its p-value and the decision mean nothing; it is not counted.")));
  if (!detail) parts.push(made("p", { class: "soft" }, t("The {n} most anomalous are explained; this is number {place}. oddkind report --most explains more.", { n: count(DETAIL.size), place: count(RANKED.indexOf(i) + 1) })));
  else parts.push(...explained(i, detail));
  area.replaceChildren(...parts);
  area.scrollTop = 0;
}
function explained(i, detail) {
  const parts = [], text = detail.evidence.map((place) => t("{what} ({percent} of the evidence)", { what: place.text, percent: percent(+place.share.toFixed(2)) }));
  const alt = text.join("; ") || t("no region raises the score");
  if (detail.sound) parts.push(heard(detail, alt));
  parts.push(drawn(detail, alt));
  const when = detail.windows > 1 && detail.start !== null ? t("Evidence, in the oddest of {n} windows ({from}–{to} {unit})", { n: count(detail.windows), from: short(detail.start), to: short(detail.end), unit: detail.unit }) : t("Where the evidence is");
  const lists = [
    [when, text.length ? text : [t("None: no region raises the score.")]],
    [t("It looks like"), Object.entries(detail.probabilities).map(([label, chance]) => t("{label} (probability {chance})", { label, chance: short(chance) }))],
    [t("Nearest normal ones"), detail.nearest.map((near) => t("{name} (distance {distance})", { name: near.name, distance: short(near.distance) }))],
    [t("Views that fail"), detail.views.map((view) => t("{view}: probability {chance}", { view: view.name, chance: short(view.probability) }))],
  ];
  parts.push(made("div", { class: "lists" }, ...lists.filter(([, items]) => items.length).map(([title, items]) => made("div", {}, made("h3", {}, title), made("ul", {}, ...items.map((item) => made("li", {}, bdi(item))))))));
  return parts;
}
function heard(detail, alt) {
  const sound = detail.sound, beside = sound.beside;
  const figure = (title, picture, hot, clip, start, id) => made("figure", {}, title,
    canvas(230, hot ? t("Spectrogram with the evidence: {places}", { places: alt }) : t("Spectrogram of a normal one"), (pen, w, h) => framed(pen, w, h, picture, hot, start, sound)),
    clip ? made("audio", { controls: "", preload: "metadata", src: clip.wav, id, "aria-label": id === "this-one" ? t("Play this one") : t("Play the normal one") }) : null,
    made("figcaption", {}, clip ? clipText(clip, start) : t("Not embedded: the first {n} can be played; --clips changes it.", { n: count(facts.clips) })));
  const title = (head, rest) => made("h3", {}, ...nodes("{what}: {which}", { what: head, which: bdi(rest) }));
  return made("div", {}, made("div", { class: "pair heard" },
    figure(title(t("This one"), `${short(sound.start)}–${short(sound.start + sound.seconds)} s`), sound.sample, sound.heat, sound.clip, sound.start, "this-one"),
    beside ? figure(title(beside.what, `${beside.name}, ${short(beside.start)} s`), beside.picture, null, beside.clip, beside.start, "normal-one")
      : made("p", { class: "soft" }, t("No normal recording is there to compare with; --learnt-from names the folder of those that the model learnt from."))),
  made("p", { class: "soft" }, ...key(["odd", t("evidence")], ["ink", t("loud; both spectrograms on one scale of 60 dB")])));
}
function clipText(clip, start) {
  const of = { start: short(start), seconds: short(clip.seconds), whole: short(clip.of_seconds), rate: count(clip.rate), before: count(clip.of_rate), highest: count(clip.rate / 2) };
  const parts = [clip.seconds < clip.of_seconds - 0.005 ? t("Clip from {start} s on: the first {seconds} s of {whole} s.", of) : t("Clip from {start} s on: {seconds} s.", of),
    clip.rate < clip.of_rate ? t("Downsampled from {before} to {rate} Hz, so nothing above {highest} Hz is heard.", of) : `${of.rate} Hz.`,
    t("Both clips are amplified by the same factor.")];
  return parts.join(" ");
}
const mel = (f) => 2595 * Math.log10(1 + f / 700);
function framed(pen, w, h, picture, hot, start, sound) {
  const box = { x: 52, y: 6, w: w - 60, h: h - 32 };
  spectrogram(pen, picture, hot, box);
  const y = (f) => box.y + box.h * (1 - mel(f) / mel(sound.hertz));
  const ticks = [0, 250, 500, 1000, 2000, 4000, 8000, 16000].filter((f) => f <= sound.hertz * 1.001);
  axes(pen, { ...box, w: 0 }, [], ticks.filter((f, n) => n === 0 || y(ticks[n - 1]) - y(f) > 12).map((f) => [y(f), hertz(f)]), "", "");
  const step = niceStep(sound.seconds, 4), xs = [];
  for (let s = 0; s <= sound.seconds + 1e-9; s += step) xs.push([box.x + box.w * s / sound.seconds, `${short(start + s)} s`]);
  axes(pen, box, xs, [], "", "");
}
/* Loud is ink, evidence is orange; the lowest band is at the bottom. */
function spectrogram(pen, picture, hot, box) {
  const [tall, wide] = picture.shape, values = unpacked(picture), heatValues = hot && unpacked(hot), across = hot ? hot.shape[1] : 1;
  const small = document.createElement("canvas");
  small.width = wide; small.height = tall;
  const inner = small.getContext("2d"), data = inner.createImageData(wide, tall), rgb = (name) => [1, 3, 5].map((at_) => parseInt(ink(name).slice(at_, at_ + 2), 16));
  const paper = rgb("card"), dark = rgb("ink"), odd = rgb("odd");
  for (let y = 0; y < tall; y += 1) for (let x = 0; x < wide; x += 1) {
    const level = values[y * wide + x] / 255, part = hot ? 0.65 * heatValues[Math.floor(y * hot.shape[0] / tall) * across + Math.floor(x * across / wide)] / 255 : 0;
    const to = 4 * ((tall - 1 - y) * wide + x);
    for (let c = 0; c < 3; c += 1) data.data[to + c] = (1 - part) * (paper[c] + level * (dark[c] - paper[c])) + part * odd[c];
    data.data[to + 3] = 255;
  }
  inner.putImageData(data, 0, 0);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(small, box.x, box.y, box.w, box.h);
}
function drawn(detail, alt) {
  const of = detail.drawing;
  if (of.kind === "picture") return lookedAt(detail, alt);
  if (of.kind === "spectrogram") {
    const box = (w, h) => ({ x: 8, y: 4, w: w - 16, h: h - 8 });
    return made("div", {}, made("h3", {}, t("As the model sees it: the sounding part, stretched to one length")), made("div", { class: "pair" },
      made("figure", {}, canvas(150, t("As the model sees it, with the evidence: {places}", { places: alt }), (pen, w, h) => spectrogram(pen, of.sample, of.heat, box(w, h))), made("figcaption", {}, t("this one, with the evidence"))),
      made("figure", {}, canvas(150, t("The nearest normal one as the model sees it"), (pen, w, h) => spectrogram(pen, of.normal, null, box(w, h))), made("figcaption", {}, t("the nearest normal one")))));
  }
  const signals = of.kind === "signals", lines = [], of_evidence = (name, part) => t("{what} ({percent} of the evidence)", { what: name, percent: percent(+part.toFixed(2)) });
  if (signals) {
    const n = of.sample.shape[1], [sample, normal, hot] = [of.sample, of.normal, of.heat].map(unpacked);
    of.channels.forEach((name, row) => lines.push([of_evidence(name, of.shares[row]), ...[sample, normal, hot].map((values) => values.subarray(row * n, (row + 1) * n)), null]));
  } else for (const part of of.parts) lines.push([of_evidence(part.name, part.share), unpacked(part.sample), unpacked(part.normal), unpacked(part.heat), part.hertz]);
  return made("figure", { style: "margin-bottom: 1rem" }, ...lines.flatMap(([name, sample, normal, hot, ends]) => [made("h3", {}, bdi(name)),
    canvas(signals ? 86 : 120, t("{what}, this one and the nearest normal one; evidence: {places}", { what: name, places: alt }), (pen, w, h) => lined(pen, w, h, sample, normal, hot, ends))]),
  made("figcaption", {}, ...key(["ink", t("this one")], ["normal", t("nearest normal one")], ["odd", t("evidence")]), ` — ${axisOf(detail, of, lines).join(" ")}`));
}
/* What the horizontal axis is, and what is not drawn. */
function axisOf(detail, of, lines) {
  if (of.kind !== "signals") return [lines[0][4] ? t("From left to right: frequency.") : t("From left to right: the values."),
    of.of_parts > lines.length ? t("{n} of {all} parts are drawn.", { n: count(lines.length), all: count(of.of_parts) }) : "", of.parts.some((part) => part.of > part.sample.shape[0]) ? t("Of long vectors some values are drawn.") : ""].filter(Boolean);
  const place = { from: short(detail.start), to: short(detail.end), unit: detail.unit };
  return [detail.start === null ? t("From left to right: time.") : t("From left to right: time, {from}–{to} {unit}.", place),
    of.of_channels > lines.length ? t("The {n} of {all} channels with the most evidence are drawn.", { n: count(lines.length), all: count(of.of_channels) }) : "",
    of.of_points > of.sample.shape[1] ? t("Of {all} points {n} are drawn.", { all: count(of.of_points), n: count(of.sample.shape[1]) }) : ""].filter(Boolean);
}
function lined(pen, w, h, sample, normal, hot, ends) {
  const box = { x: 4, y: 4, w: w - 8, h: h - (ends ? 24 : 8) };
  pen.fillStyle = ink("wash"); pen.fillRect(box.x, box.y, box.w, box.h);
  pen.fillStyle = ink("odd");
  for (let i = 0; i < hot.length; i += 1) if (hot[i]) { const from = Math.round(box.w * i / hot.length); pen.globalAlpha = 0.6 * hot[i] / 255; pen.fillRect(box.x + from, box.y, Math.round(box.w * (i + 1) / hot.length) - from, box.h); }
  pen.globalAlpha = 1;
  let low = Infinity, high = -Infinity;
  for (const values of [sample, normal]) for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
  const inside = { ...box, y: box.y + 6, h: box.h - 12 };
  pen.strokeStyle = ink("normal"); pen.lineWidth = 1.5; curve(pen, normal, inside, low, high);
  pen.strokeStyle = ink("ink"); pen.lineWidth = 1.75; curve(pen, sample, inside, low, high);
  if (ends) axes(pen, box, [0, 0.25, 0.5, 0.75, 1].map((part) => [box.x + box.w * part, null]).map(([x], n) => [x, n === 0 ? hertz(ends[0]) : n === 4 ? hertz(ends[1]) : ""]), [], "", "");
}
function lookedAt(detail, alt) {
  const of = detail.drawing, [tall, wide] = of.heat.shape, values = unpacked(of.heat);
  const overlay = made("canvas", { width: wide, height: tall, role: "img", "aria-label": t("Where the evidence is: {places}", { places: alt }) }), pen = overlay.getContext("2d"), data = pen.createImageData(wide, tall);
  for (let i = 0; i < values.length; i += 1) data.data.set([232, 84, 10, 0.85 * values[i]], 4 * i);
  pen.putImageData(data, 0, 0);
  const view = (src, title, over = null) => made("figure", {}, made("div", { class: "look" }, made("img", { src, alt: title, width: wide, height: tall }), over), made("figcaption", {}, title));
  const sample = of.step > 1 ? t("This one, as the model sees it (one pixel in {n} along each side is drawn)", { n: of.step }) : t("This one, as the model sees it");
  return made("div", { class: "three", style: "margin-bottom: 1rem" }, view(of.sample, sample), view(of.sample, t("Where the evidence is (orange)"), overlay), view(of.normal, detail.nearest.length ? t("The nearest normal one: {name}", { name: detail.nearest[0].name }) : t("What replaced its regions")));
}

/* --- alarms at any rate --- */
function say() {
  const all = counts(-1), held = heldOut(-1), bold = (text) => made("b", {}, text), raised = tn("{alarms} of {files} raises an alarm", "{alarms} of {files} raise an alarm", all.alarms, { alarms: count(all.alarms), files: many(all.files) });
  const of = { alarms: bold(raised), percent: percent(rate), least: count(minSize(rate)), held: count(held) };
  const parts = [held < minSize(rate) ? nodes("{alarms}. A rate of {percent} takes at least {least} held-out normal ones; there are {held}, so it is not promised.", of) : nodes("{alarms}; promised: of normal ones at most {percent}.", of)];
  if (all.normal) {
    const chance = chanceOf(all.falseGroups, all.groups, held, rate), seen = { share: bold(share(all.falseAlarms, all.normal)), groups: share(all.falseGroups, all.groups), chance: chance === null ? "" : short(chance) };
    parts.push(all.groups < all.normal ? nodes("Observed among normal ones: {share}; of their groups {groups}.", seen) : nodes("Observed among normal ones: {share}.", seen));
    if (chance !== null) parts.push(chance < SMALL_CHANCE ? nodes("The chance of so many or more is {chance}, so the promise does not hold for them.", seen) : nodes("The chance of so many or more is {chance}.", seen));
  }
  if (all.anomalous) parts.push(nodes("Found among anomalous ones: {share}.", { share: bold(share(all.found, all.anomalous)) }));
  at("verdict").replaceChildren(...parts.flatMap((part) => [...part, " "]));
  const own = counts(chosen), now = { percent: percent(rate), label: nameOfLabel(chosen), found: percent(own.found / own.anomalous), falseAlarms: percent(own.falseAlarms / own.normal), alarms: count(own.alarms), files: many(own.files) };
  if (own.anomalous && own.normal) at("rate-title").textContent = chosen < 0 ? t("At {percent}, {found} of the anomalous ones are found, with {falseAlarms} false alarms", now) : t("At {percent}, {found} of the anomalous ones of label {label} are found, with {falseAlarms} false alarms", now);
  else at("rate-title").textContent = chosen < 0 ? tn("At {percent}, {alarms} of {files} raises an alarm", "At {percent}, {alarms} of {files} raise an alarm", own.alarms, now) : tn("At {percent}, {alarms} of {files} of label {label} raises an alarm", "At {percent}, {alarms} of {files} of label {label} raise an alarm", own.alarms, now);
  const head = ["", facts.judged === "blocks" ? t("blocks") : t("files"), t("alarms"), t("normal"), t("expected false alarms"), t("false alarms"), t("anomalous"), t("found"), "AUC"];
  const body = [-1, ...(F.labels.length > 1 ? F.labels.map((_, n) => n) : [])].map((label) => {
    const of = counts(label), line = curveOf(label);
    const cells = [label < 0 ? t("all") : nameOfLabel(label), count(of.files), count(of.alarms), count(of.normal), of.normal ? `≤ ${short(rate * of.normal)}` : "", of.normal ? share(of.falseAlarms, of.normal) : "", count(of.anomalous), of.anomalous ? share(of.found, of.anomalous) : "", line ? line.auc.toFixed(3) : ""];
    return made("tr", {}, ...cells.map((cell, n) => (n ? made("td", {}, cell) : made("th", { scope: "row" }, bdi(cell)))));
  });
  at("by-label").replaceChildren(made("thead", {}, made("tr", {}, ...head.map((text) => made("th", { scope: "col" }, text)))), made("tbody", {}, ...body));
}
const VALUE = ONE_FOLD ? SCORE : Float64Array.from(P, (p) => -Math.log10(p));
const axisText = () => (ONE_FOLD ? t("anomaly score") : t("−log₁₀ p-value"));
function rangeOf() {
  const values = Float64Array.from([...VALUE.filter((_, i) => !LEARNT[i]), ...(HELD || [])]).sort();
  if (!values.length) return [0, 1];
  const low = values[0], most = values[values.length - 1], near = values[Math.floor(0.98 * (values.length - 1))];
  return [low, Math.max(low + 1e-9, Math.min(most, near + 0.25 * (near - low)))];
}
const [LOW, HIGH] = rangeOf(), BINS = Math.round(Math.min(48, Math.max(16, 2 * Math.sqrt(N))));
const binOf = (value) => Math.min(BINS - 1, Math.max(0, Math.floor(BINS * (value - LOW) / (HIGH - LOW))));
function bars(label) {
  const found = { normal: new Float64Array(BINS), odd: new Float64Array(BINS), other: new Float64Array(BINS), held: new Float64Array(BINS), beyond: 0, n: 0 };
  for (let i = 0; i < N; i += 1) {
    if (LEARNT[i] || (label >= 0 && LABEL[i] !== label)) continue;
    found[TRUTH[i] === 1 ? "odd" : TRUTH[i] === 0 ? "normal" : "other"][binOf(VALUE[i])] += 1;
    found.beyond += VALUE[i] > HIGH; found.n += 1;
  }
  if (HELD) for (let i = 0; i < HELD.length; i += 1) if (label < 0 || H.labels[HELD_LABEL[i]] === nameOfLabel(label)) found.held[binOf(HELD[i])] += WEIGHTS[i];
  return found;
}
let shownBars = bars(-1);
const xOf = (box, value) => box.x + box.w * Math.min(1, Math.max(0, (value - LOW) / (HIGH - LOW)));
function histogram(pen, w, h) {
  const box = { x: 46, y: 24, w: w - 56, h: h - 66 }, { normal, odd, other, held } = shownBars;
  const total = (values) => values.reduce((a, b) => a + b, 0), heldTotal = total(held), scale = heldTotal ? (total(normal) || total(other) || heldTotal) / heldTotal : 0;
  let most = 1;
  for (let b = 0; b < BINS; b += 1) most = Math.max(most, normal[b] + odd[b] + other[b], held[b] * scale);
  const y = (n) => box.y + box.h * (1 - n / most), step = Math.max(1, niceStep(most)), ys = [];
  for (let n = 0; n <= most; n += step) ys.push([y(n), count(n)]);
  const xs = [0, 0.25, 0.5, 0.75, 1].map((part) => LOW + part * (HIGH - LOW)).map((value) => [xOf(box, value), short(value)]);
  axes(pen, box, xs, ys, axisText(), facts.judged === "blocks" ? t("blocks") : t("files"));
  const wide = box.w / BINS;
  for (let b = 0; b < BINS; b += 1) {
    let from = 0;
    for (const [values, colour] of [[other, "other"], [normal, "normal"], [odd, "odd"]]) {
      if (!values[b]) continue;
      pen.fillStyle = ink(colour);
      pen.fillRect(box.x + b * wide + 0.5, y(from + values[b]), Math.max(1, wide - 1), y(from) - y(from + values[b]));
      from += values[b];
    }
  }
  if (heldTotal) {
    pen.strokeStyle = ink("ink"); pen.lineWidth = 1.5; pen.beginPath(); pen.moveTo(box.x, y(0));
    for (let b = 0; b < BINS; b += 1) { pen.lineTo(box.x + b * wide, y(held[b] * scale)); pen.lineTo(box.x + (b + 1) * wide, y(held[b] * scale)); }
    pen.stroke();
  }
  const cut = ONE_FOLD ? threshold(chosen) : -Math.log10(rate);
  if (cut !== null) mark(pen, box, xOf(box, cut), cut > HIGH ? t("alarm beyond") : t("alarm to the right"));
}
const RATES = Array.from({ length: 61 }, (_, k) => 0.001 * 500 ** (k / 60));
function keptCurve(label) {
  const p = [], known = [];
  for (let i = 0; i < N; i += 1) { if (LEARNT[i] || (label >= 0 && LABEL[i] !== label)) continue; p.push(P[i]); if (COUNTED[i] && TRUTH[i] === 0) known.push(P[i]); }
  const use = Float64Array.from(known.length ? known : p).sort();
  return { known: known.length > 0, n: use.length, values: RATES.map((r) => { let low = 0, high = use.length; while (low < high) { const middle = (low + high) >> 1; if (use[middle] <= r * (1 + 1e-9)) low = middle + 1; else high = middle; } return use.length ? low / use.length : 0; }) };
}
let shownKept = keptCurve(-1);
function keptPlot(pen, w, h) {
  const box = { x: 52, y: 24, w: w - 62, h: h - 66 }, ends = [0.001, 0.5];
  const x = (r) => box.x + box.w * Math.log(Math.min(0.5, Math.max(0.001, r)) / ends[0]) / Math.log(ends[1] / ends[0]);
  const y = (r) => box.y + box.h * (1 - Math.log(Math.min(1, Math.max(0.001, r)) / 0.001) / Math.log(1000));
  const ticks = [0.001, 0.01, 0.1, 0.5];
  axes(pen, box, ticks.map((r) => [x(r), percent(r)]), [0.001, 0.01, 0.1, 1].map((r) => [y(r), percent(r)]), t("promised false-alarm rate"), shownKept.known ? t("observed false alarms") : t("alarms among all"));
  pen.strokeStyle = ink("soft"); pen.lineWidth = 1.5; pen.setLineDash([4, 4]); pen.beginPath(); pen.moveTo(x(0.001), y(0.001)); pen.lineTo(x(0.5), y(0.5)); pen.stroke(); pen.setLineDash([]);
  pen.strokeStyle = ink(shownKept.known ? "normal" : "other"); pen.lineWidth = 2.5; pen.beginPath();
  let before = null;
  shownKept.values.forEach((value, k) => { if (!before) pen.moveTo(x(RATES[k]), y(value)); else { pen.lineTo(x(RATES[k]), before); pen.lineTo(x(RATES[k]), y(value)); } before = y(value); });
  pen.stroke();
  mark(pen, box, x(rate), percent(rate));
}
function rocPlot(pen, w, h) {
  const line = curveOf(chosen), own = counts(chosen);
  drawRoc(pen, w, h, { curves: line ? [{ points: line.points, colour: "ink" }] : [], xText: t("false alarms among normal ones"), yText: t("found"), point: line && [own.falseAlarms / own.normal, own.found / own.anomalous] });
  if (!line) { pen.fillStyle = ink("soft"); pen.textAlign = "center"; pen.fillText(t("needs files known to be normal and anomalous"), w / 2, h / 2); }
}
function titles() {
  const own = counts(chosen), line = curveOf(chosen), cut = ONE_FOLD ? threshold(chosen) : null, left = LEARNT.some(Boolean);
  at("histogram-title").textContent = cut === null ? tn("{alarms} of {files} raises an alarm", "{alarms} of {files} raise an alarm", own.alarms, { alarms: count(own.alarms), files: many(own.files) }) : t("Alarms begin above a score of {score}", { score: short(cut) });
  const kinds = [["normal", t("normal"), shownBars.normal], ["odd", t("anomalous"), shownBars.odd], ["other", t("not known"), shownBars.other]].filter(([, , values]) => values.some(Boolean)).map(([kind, text]) => [kind, text]);
  if (HELD) kinds.push(["held", t("held-out normal ones ({n}), scaled to as many", { n: count(Math.round(shownBars.held.reduce((sum, n) => sum + n, 0))) })]);
  const notes = [`${many(shownBars.n)}.`, shownBars.beyond ? t("{n} beyond the axis are in the last bar.", { n: count(shownBars.beyond) }) : "", left ? t("Those learnt from are left out.") : "",
    H.per_label && chosen < 0 ? t("Each label has a threshold of its own.") : "", ONE_FOLD ? "" : t("With {n} folds the p-value decides, not one score.", { n: H.folds })];
  at("histogram-note").replaceChildren(...key(...kinds), ` — ${notes.filter(Boolean).join(" ")}`);
  const seen = percent(own.normal ? own.falseAlarms / own.normal : own.files ? own.alarms / own.files : 0);
  at("kept-title").textContent = own.normal ? t("Promised {percent}, observed {seen}", { percent: percent(rate), seen }) : t("{seen} of all raise an alarm", { seen });
  at("kept-note").textContent = shownKept.known ? t("Blue: {files} known to be normal. On or below the dashed line the promise is kept.", { files: many(shownKept.n) })
    : left ? t("None is known to be normal and was not learnt from, so alarms among all are drawn; if all were normal, they would lie near the dashed line.")
      : t("None is known to be normal, so alarms among all are drawn; if all were normal, they would lie near the dashed line.");
  at("roc-title").textContent = line ? t("ROC: AUC {auc}", { auc: line.auc.toFixed(3) }) : t("ROC");
  at("roc-note").textContent = !line ? t("A ROC curve needs files that are known to be normal and anomalous: --normal names them.")
    : H.per_label || !ONE_FOLD ? t("The point is the rate chosen above. It may lie beside the curve, because not one threshold decides.") : t("The point is the rate chosen above.");
  const say_ = (id, text) => at(id).firstChild.setAttribute("aria-label", text), title = (id) => ({ title: at(`${id}-title`).textContent });
  say_("histogram", t("Histogram. {title}.", title("histogram")));
  say_("kept", t("Promised against observed rate. {title}.", title("kept")));
  say_("roc", t("{title}. Found {found}, false alarms {falseAlarms}.", { ...title("roc"), found: share(own.found, own.anomalous), falseAlarms: share(own.falseAlarms, own.normal) }));
}
const SLOW = Math.log(0.5 / 0.001);
const moving = [];  // what else the slider moves: functions of the sections with scripts of their own
function setRate(value, from = null) {
  if (!(value > 0 && value < 1)) return;
  rate = value;
  if (from !== "slider") at("slider").value = String(Math.round(1000 * Math.log(Math.min(0.5, Math.max(0.001, rate)) / 0.001) / SLOW));
  if (from !== "percent") at("percent").value = String(+(100 * rate).toPrecision(6));
  at("slider").setAttribute("aria-valuetext", percent(rate));
  say(); titles(); timeTitle();
  if (at("only").value) filter(); else rows();
  const mark_ = at("why").querySelector(".badge");
  if (mark_) mark_.replaceWith(badge(isAlarm(selected)));
  for (const id of ["histogram", "kept", "roc", "timeline"]) redraw.get(at(id).firstChild)?.();
  for (const move_ of moving) move_();
}

/* --- time --- */
const T = facts.time, ORDER = T && unpacked(T.rows), MOMENT = T && T.at && unpacked(T.at), EVIDENCE = T && unpacked(T.evidence);
const MOST_DRAWN = 4000, DRAWN_EVERY = T ? Math.max(1, Math.ceil(ORDER.length / MOST_DRAWN)) : 1;
function timeTitle() {
  if (!T) { at("time-title").textContent = t("No timeline"); at("time-note").textContent = t("No order of the files was found. --order names a column of the manifest, or 'name' for the order of the names."); return; }
  const first = EVIDENCE.findIndex((value) => value >= Math.log10(T.drift)), of = { drift: T.drift, order: T.by, files: many(T.n_evidence) };
  at("time-title").textContent = first >= 0 ? t("The scores drift: the evidence reaches {drift} at {name}", { ...of, name: F.names[ORDER[first]] }) : t("No drift: the evidence stays below {drift}", of);
  const beyond = VALUE.reduce((sum, value) => sum + (value > HIGH), 0);
  const notes = [t("A triangle is an alarm."), t("Order: {order}.", of), t("Evidence from {files}: without drift it reaches {drift} at any time in at most 1 of 100 runs; faults raise it too.", of),
    DRAWN_EVERY > 1 ? t("{n} of {all} points are drawn, and every alarm.", { n: count(Math.ceil(ORDER.length / DRAWN_EVERY)), all: count(ORDER.length) }) : "",
    beyond ? t("{n} beyond the axis are drawn at its top.", { n: count(beyond) }) : "", t("Left and right arrows select.")];
  at("time-note").replaceChildren(...key(["normal", t("normal")], ["odd", t("anomalous")], ["", t("not known")]), ` — ${notes.filter(Boolean).join(" ")}`);
}
function placeInTime(k, box) {
  if (!MOMENT || MOMENT[0] === MOMENT[MOMENT.length - 1]) return box.x + box.w * (k + 0.5) / ORDER.length;
  return box.x + box.w * (MOMENT[k] - MOMENT[0]) / (MOMENT[MOMENT.length - 1] - MOMENT[0]);
}
const decades = (bottom, top) => { const step = Math.max(2, 2 * Math.ceil((top - bottom) / 8)), found = []; for (let v = -step * Math.floor(-bottom / step); v <= top; v += step) found.push(v + 0); return found; };
const timeBox = (w) => ({ x: 56, y: 24, w: w - 72, h: 176 });
function timeline(pen, w, h, element) {
  const box = timeBox(w), lower = { ...box, y: 232, h: h - 232 - 28 }, y = (v) => box.y + box.h * (1 - Math.min(1, Math.max(0, (v - LOW) / (HIGH - LOW))));
  const moment = (k) => (MOMENT ? T.dated ? new Date(MOMENT[k] * 1000).toISOString().slice(0, 16).replace("T", " ") : short(MOMENT[k]) : t("number {n}", { n: count(k + 1) }));
  const every = Array.from({ length: 6 }, (_, n) => Math.round(n * (ORDER.length - 1) / 5));
  axes(pen, box, [], [0, 0.5, 1].map((part) => LOW + part * (HIGH - LOW)).map((v) => [y(v), short(v)]), "", axisText());
  const top = Math.max(3, ...EVIDENCE), bottom = Math.max(-3, Math.min(-1, ...EVIDENCE)), ye = (v) => lower.y + lower.h * (1 - (Math.max(v, bottom) - bottom) / (top - bottom));
  axes(pen, lower, every.map((k) => [placeInTime(k, box), moment(k)]), decades(bottom, top).map((v) => [ye(v), v >= -3 && v < 4 ? String(+(10 ** v).toPrecision(1)) : `10^${v}`]), "", t("evidence of drift"));
  const step = DRAWN_EVERY;
  const cut = ONE_FOLD ? threshold(-1) : -Math.log10(rate);
  if (cut !== null) { pen.strokeStyle = ink("odd"); pen.setLineDash([6, 4]); pen.beginPath(); pen.moveTo(box.x, y(cut)); pen.lineTo(box.x + box.w, y(cut)); pen.stroke(); pen.setLineDash([]); }
  for (let k = 0; k < ORDER.length; k += 1) {
    const i = ORDER[k], alarm = isAlarm(i) && !LEARNT[i];
    if (k % step && !alarm) continue;
    const px = placeInTime(k, box), py = y(VALUE[i]);
    pen.globalAlpha = LEARNT[i] ? 0.3 : 0.85;
    pen.fillStyle = ink(TRUTH[i] === 1 ? "odd" : TRUTH[i] === 0 ? "normal" : "other");
    pen.beginPath();
    if (alarm) { pen.moveTo(px, py - 5); pen.lineTo(px + 4.5, py + 4); pen.lineTo(px - 4.5, py + 4); } else pen.arc(px, py, 2.5, 0, 7);
    pen.fill();
  }
  pen.globalAlpha = 1; pen.strokeStyle = ink("ink"); pen.lineWidth = 1.75; pen.beginPath();
  EVIDENCE.forEach((value, k) => { if (k % step) return; if (k) pen.lineTo(placeInTime(k, box), ye(value)); else pen.moveTo(placeInTime(k, box), ye(value)); });
  pen.stroke();
  pen.strokeStyle = ink("odd"); pen.setLineDash([3, 4]); pen.beginPath(); pen.moveTo(lower.x, ye(2)); pen.lineTo(lower.x + lower.w, ye(2)); pen.stroke(); pen.setLineDash([]);
  const here = ORDER.indexOf(selected);
  if (here >= 0) { pen.strokeStyle = ink("focus"); pen.lineWidth = 2; pen.beginPath(); pen.arc(placeInTime(here, box), y(VALUE[selected]), 8, 0, 7); pen.stroke(); }
  element.setAttribute("aria-label", t("Timeline. {title}. Selected: {name}.", { title: at("time-title").textContent, name: F.names[selected] }));
}
function nearestInTime(event) {
  const place = event.target.getBoundingClientRect(), box = timeBox(place.width), x = event.clientX - place.left, y = event.clientY - place.top;
  let best = null, least = Infinity;
  ORDER.forEach((i, k) => {
    const away = Math.hypot(placeInTime(k, box) - x, y > box.y + box.h ? 0 : box.y + box.h * (1 - Math.min(1, Math.max(0, (VALUE[i] - LOW) / (HIGH - LOW)))) - y);
    if (away < least) { least = away; best = i; }
  });
  return best;
}

/* --- what was learnt, and what is doubtful --- */
function doubts() {
  const items = [...(facts.problem ? [facts.problem] : []), ...facts.doubts], kept = facts.said.kept, excess = facts.said.excess;
  const of = (found) => ({ alarms: count(found.n_alarms), n: count(found.n_normal), percent: percent(found.rate), chance: short(found.chance) });
  if (kept && kept.chance < SMALL_CHANCE) items.push(kept.unit === "groups" ? t("{alarms} of {n} normal groups raise a false alarm at the promised rate of {percent}; if they were like those held out, the chance of so many would be {chance}. Something has drifted or is new, and the promise does not hold for them.", of(kept))
    : t("{alarms} of {n} normal ones raise a false alarm at the promised rate of {percent}; if they were like those held out, the chance of so many would be {chance}. Something has drifted or is new, and the promise does not hold for them.", of(kept)));
  else if (!kept && excess && excess.chance < SMALL_CHANCE) items.push(excess.unit === "groups" ? t("{alarms} of {n} groups raise an alarm at a rate of {percent}; if all were normal and like those held out, the chance of so many would be {chance}. Some are anomalous, or something has drifted.", of(excess))
    : t("{alarms} of {n} raise an alarm at a rate of {percent}; if all were normal and like those held out, the chance of so many would be {chance}. Some are anomalous, or something has drifted.", of(excess)));
  const learnt = LEARNT.reduce((a, b) => a + b, 0);
  if (learnt) items.push(t("The model learnt from {files} of these or held them out; they are marked and not counted.", { files: many(learnt) }));
  if (facts.n_refused) items.push(t("{files} could not be read and are left out.", { files: many(facts.n_refused) }));
  at("doubt-title").textContent = items.length ? tn("{n} thing is doubtful or left out", "{n} things are doubtful or left out", items.length) : t("Nothing doubtful was found");
  const parts = [made("ul", { class: "doubts" }, ...items.map((text) => made("li", {}, bdi(text))))];
  if (!facts.checked) parts.push(made("p", { class: "soft" }, t("The files were not read once more to look for copies, clipping, silence and the like; oddkind check does.")));
  const all = { files: many(facts.n_refused), n: count(facts.refused.length) };
  if (facts.refused.length) parts.push(made("details", {}, made("summary", {}, facts.n_refused > facts.refused.length ? t("{files} left out, {n} listed", all) : t("{files} left out", all)), made("ul", { class: "doubts" }, ...facts.refused.map(([name, why]) => made("li", {}, ...nodes("{what}: {which}", { what: bdi(name), which: bdi(why) }))))));
  at("doubts").replaceChildren(...parts);
}
function learnt() {
  const M = facts.model, table = (title, rows_) => made("div", {}, made("h3", {}, title), made("table", { class: "facts" }, made("tbody", {}, ...rows_.filter(([, value]) => value !== "" && value !== null).map(([name, value]) => made("tr", {}, made("td", {}, name), made("td", {}, bdi(String(value))))))));
  at("learnt-title").textContent = M.labels.length ? tn("What was learnt: {n} label, {percent} of the held-out views classified correctly", "What was learnt: {n} labels, {percent} of the held-out views classified correctly", M.labels.length, { percent: percent(M.accuracy) }) : t("What was learnt: {percent} of the held-out views classified correctly", { percent: percent(M.accuracy) });
  const losses = unpacked(M.losses), held = Object.entries(H.sizes).map(([label, n]) => (label ? `${label}: ${count(n)}` : tn("{n} held-out file, block or group", "{n} held-out files, blocks or groups", n)));
  const parts = [
    table(t("Learnt"), [[t("labels"), M.labels.join(", ") || t("none")], [t("task"), M.task], [t("score"), M.score], [t("front end"), M.front_end.join(", ")], [t("chosen because"), M.front_end_reason], [t("pooled from windows by"), M.pool],
      [t("accuracy on held-out views"), M.accuracy.toFixed(3)], [t("hesitates between"), t("{n} of {all} classes", { n: short(M.perplexity), all: M.n_classes })], [t("learnt from or held out"), many(M.n_learnt)], [t("compared with"), held.join(", ")],
      [t("models"), H.folds > 1 ? t("{n}, each trained without one fold", { n: H.folds }) : "1"], [t("trained in"), t("{seconds} s, {epochs} epochs", { seconds: short(M.seconds), epochs: M.epochs[0] })]]),
    losses.length > 1 ? made("figure", {}, made("h3", {}, t("The training loss went from {first} to {last}", { first: short(losses[0]), last: short(losses[losses.length - 1]) })), canvas(90, t("Training loss by epoch"), (pen, w, h) => { pen.strokeStyle = ink("ink"); pen.lineWidth = 2; curve(pen, losses, { x: 4, y: 6, w: w - 8, h: h - 12 }, 0, Math.max(...losses)); })) : null,
    table(t("How files are read"), Object.entries(M.settings).map(([name, value]) => [name.replaceAll("_", " "), value])),
    Object.keys(M.left_out).length ? table(t("Columns left out"), Object.entries(M.left_out)) : null,
    table(t("Training parameters"), Object.entries(M.parameters).map(([name, value]) => [name.replaceAll("_", " "), value])),
    table(t("Versions and fingerprint"), [...Object.entries(M.versions), [t("model"), M.file || ""], [t("SHA-256 of the model"), M.fingerprint || ""], [t("SHA-256 of the names and contents of the data"), facts.data_fingerprint]]),
  ];
  at("learnt").replaceChildren(...parts.filter(Boolean));
}

/* --- what the user does --- */
at("finding").textContent = (() => { const all = counts(-1); return tn("{alarms} of {files} is anomalous at a false-alarm rate of {percent}", "{alarms} of {files} are anomalous at a false-alarm rate of {percent}", all.alarms, { alarms: count(all.alarms), files: many(all.files), percent: percent(rate) }); })();
at("about").replaceChildren(...nodes("Data: {data}", { data: bdi(facts.data) }), ...(facts.model.file ? [" · ", ...nodes("model: {file}", { file: bdi(facts.model.file) })] : []), ` · ${facts.written}`, LEARNT.some(Boolean) ? ` · ${t("files that the model learnt from are not counted")}` : "");
document.title = `${at("finding").textContent} – oddkind`;
at("work-note").textContent = [DETAIL.size === N ? t("Each is explained.") : t("The {n} most anomalous are explained.", { n: count(DETAIL.size) }), facts.clips ? t("The first {n} can be played.", { n: count(facts.clips) }) : ""].join(" ");
at("only-label").append(made("option", { value: "-2" }, t("all labels")), ...F.labels.map((label, n) => made("option", { value: String(n) }, label)), ...(F.labels.length && LABEL.includes(-1) ? [made("option", { value: "-1" }, t("no label"))] : []));
at("only-label").hidden = F.labels.length < 1;
at("of-label").append(made("option", { value: "-1" }, t("all")), ...F.labels.map((label, n) => made("option", { value: String(n) }, label)));
at("of-label").parentElement.hidden = F.labels.length < 2;
at("foot").textContent = t("Written by oddkind {version}. The numbers are those of oddkind score and oddkind evaluate.", { version: facts.model.versions.oddkind || "" });
for (const [id, height, draw] of [["histogram", 270, histogram], ["kept", 270, keptPlot], ["roc", 270, rocPlot]]) at(id).append(canvas(height, "", draw));
if (T) {
  const element = canvas(380, "", timeline, true);
  element.addEventListener("click", (event) => select(nearestInTime(event)));
  element.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) { event.preventDefault(); select(ORDER[Math.min(ORDER.length - 1, Math.max(0, ORDER.indexOf(selected) + by))]); }
  });
  at("timeline").append(element);
}
let queued = false;
at("slider").addEventListener("input", () => {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => { queued = false; setRate(+(0.001 * Math.exp(SLOW * at("slider").value / 1000)).toPrecision(3), "slider"); });
});
at("percent").addEventListener("change", () => setRate(+at("percent").value / 100, "percent"));
at("of-label").addEventListener("change", () => { chosen = +at("of-label").value; shownBars = bars(chosen); shownKept = keptCurve(chosen); setRate(rate); });
for (const id of ["search", "only", "only-label"]) at(id).addEventListener("input", () => { at("list").scrollTop = 0; filter(); });
at("list").addEventListener("scroll", rows);
const play = (id) => { for (const element of document.querySelectorAll("audio")) if (element.id !== id) element.pause(); const element = at(id); if (element) { if (element.paused) element.play(); else element.pause(); } };
at("list").addEventListener("keydown", (event) => {
  const page = Math.max(1, Math.floor(at("list").clientHeight / ROW) - 1);
  const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -N, End: N }[event.key];
  if (by) move(by);
  else if (event.key === "Enter") at("why").focus();
  else return;
  event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
  if (event.key === "p") play("this-one");
  else if (event.key === "n") play("normal-one");
  else if (event.key === "Escape") at("list").focus();
});
watchTheLook(() => rows());
doubts(); learnt(); filter(); setRate(rate); reasons(); drawAll();
