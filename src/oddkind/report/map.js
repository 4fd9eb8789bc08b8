/* --- the map of the features --- */
const MAP = facts.map;
const FORMS = ["round", "square", "diamond", "valley", "plus"], HUES = 4;  // no common divisor: 20 labels look different
const STEPS = 8;  // of the colours of the scores
let mapBy = "decision", placesOnMap = () => [];
function makeMap() {
  const rows_ = unpacked(MAP.rows), spot = unpacked(MAP.at), far = MAP.far && unpacked(MAP.far);
  const known = unpacked(MAP.normal), knownLabel = MAP.normal_label && unpacked(MAP.normal_label);
  const labels = [...new Set([...F.labels, ...MAP.labels])];
  const knownAs = MAP.labels.map((label) => labels.indexOf(label));
  const ends = [[Infinity, -Infinity], [Infinity, -Infinity]];
  for (const values of [spot, known]) values.forEach((value, k) => { const end = ends[k % 2]; end[0] = Math.min(end[0], value); end[1] = Math.max(end[1], value); });
  const onPlot = (w, h, values, k) => {
    const size = Math.min((w - 28) / (ends[0][1] - ends[0][0] || 1), (h - 28) / (ends[1][1] - ends[1][0] || 1));
    return [w / 2 + size * (values[2 * k] - (ends[0][0] + ends[0][1]) / 2), h / 2 - size * (values[2 * k + 1] - (ends[1][0] + ends[1][1]) / 2)];
  };
  const step = (i) => Math.round((STEPS - 1) * Math.min(1, Math.max(0, (VALUE[i] - LOW) / (HIGH - LOW))));
  /* How a file looks: one object for each look, so that those of one look are drawn at once. */
  const looks = () => {
    const made_ = new Map(), ink_ = (name) => ink(name);
    const look = (name, build) => { if (!made_.has(name)) made_.set(name, { size: 4, alpha: 0.85, form: "round", ...build() }); return made_.get(name); };
    const ofLabel = (n) => ({ colour: n < 0 ? ink_("other") : ink_(`label-${n % HUES + 1}`), form: n < 0 ? "round" : FORMS[n % FORMS.length] });
    const ofStep = (n) => ({ colour: mixed(ink_("normal"), ink_("odd"), n / (STEPS - 1)) });
    return {
      ofLabel: (n) => look(`l${n}`, () => ofLabel(n)),
      ofStep: (n) => look(`s${n}`, () => ofStep(n)),
      normal: (n) => look(`n${n}`, () => (mapBy === "label" ? { ...ofLabel(n), alpha: 0.22, size: 3 } : { colour: ink_("normal"), alpha: 0.2, size: 3 })),
      file: (i) => {
        const alarm = isAlarm(i) && !LEARNT[i], alpha = LEARNT[i] ? 0.3 : 0.85, form = alarm ? "peak" : "round", tag = `${alarm}${LEARNT[i]}`;
        if (mapBy === "label") return look(`f${LABEL[i]}${tag}`, () => ({ ...ofLabel(LABEL[i]), alpha, edge: alarm ? ink_("odd") : null }));
        if (mapBy === "known") return look(`k${TRUTH[i]}${tag}`, () => ({ colour: ink_(TRUTH[i] === 1 ? "odd" : TRUTH[i] === 0 ? "normal" : "other"), form, alpha }));
        if (mapBy === "score") return look(`v${step(i)}${tag}`, () => ({ ...ofStep(step(i)), form, alpha }));
        return look(`d${tag}`, () => ({ colour: ink_(alarm ? "odd" : "normal"), form, alpha }));
      },
    };
  };
  const draw = (pen, w, h, element) => {
    const as = looks(), points = [], alarms = [];
    for (let k = 0; k < known.length / 2; k += 1) points.push([...onPlot(w, h, known, k), as.normal(knownLabel ? knownAs[knownLabel[k]] : -1)]);
    drawPoints(pen, points);
    rows_.forEach((i, k) => { (isAlarm(i) ? alarms : points).push([...onPlot(w, h, spot, k), as.file(i)]); });
    drawPoints(pen, points.slice(known.length / 2)); drawPoints(pen, alarms);
    const here = rows_.indexOf(selected);
    if (here >= 0) { const [x, y] = onPlot(w, h, spot, here); pen.strokeStyle = ink("focus"); pen.lineWidth = 3; pen.beginPath(); pen.arc(x, y, 9, 0, 7); pen.stroke(); }
    element.setAttribute("aria-label", t("Map of the features. {title}. Selected: {name}.", { title: at("map-title").textContent, name: F.names[selected] }));
    at("map-selected").textContent = here >= 0 ? "" : t("The selected file is not drawn.");
  };
  const title = () => {
    let alarms = 0, farAlarms = 0, others = 0, farOthers = 0;
    rows_.forEach((i, k) => { if (LEARNT[i]) return; if (isAlarm(i)) { alarms += 1; farAlarms += far ? far[k] : 0; } else { others += 1; farOthers += far ? far[k] : 0; } });
    at("map-title").textContent = !far ? t("Map of the features: {files} among normal ones", { files: many(rows_.length) })
      : t("Of those with an alarm, {alarms} are far from every normal sample; of the others, {others}", { alarms: share(farAlarms, alarms), others: share(farOthers, others) });
  };
  const legend = () => {
    const line = (lookOf, text) => made("li", {}, swatch(lookOf), bdi(text)), plain = (colour, form, alpha = 0.85) => () => ({ colour: ink(colour), form, alpha });
    const ofAlarm = line(plain("other", "peak"), t("alarm, whatever the colour")), items = [];
    if (mapBy === "label") items.push(...labels.map((label, n) => line(() => looks().ofLabel(n), label)), line(() => ({ colour: ink("card"), form: "round", alpha: 1, edge: ink("odd") }), t("alarm: an orange edge")), line(() => ({ ...looks().ofLabel(0), alpha: 0.3 }), t("normal samples of the model, faint")));
    else {
      if (mapBy === "decision") items.push(line(plain("odd", "peak"), t("alarm")), line(plain("normal", "round"), t("no alarm")));
      if (mapBy === "known") items.push(line(plain("odd", "round"), t("known to be anomalous")), line(plain("normal", "round"), t("known to be normal")), ...(rows_.some((i) => TRUTH[i] < 0) ? [line(plain("other", "round"), t("not known"))] : []), ofAlarm);
      if (mapBy === "score") items.push(...[0, 0.5, 1].map((part) => line(() => looks().ofStep(Math.round(part * (STEPS - 1))), `${short(LOW + part * (HIGH - LOW))}${part === 1 ? ` ${t("or more")}` : ""}`)), ofAlarm);
      items.push(line(plain("normal", "round", 0.3), t("normal samples of the model, faint")));
    }
    at("map-legend").replaceChildren(...items);
  };
  const plot = canvas(560, "", draw, true);
  placesOnMap = () => Array.from(rows_, (i, k) => [i, ...onPlot(plot.clientWidth, plot.clientHeight, spot, k)]);
  at("map").append(pointable(plot, placesOnMap));
  const options = [["decision", t("decision")], TRUTH.some((truth) => truth >= 0) ? ["known", t("what is known")] : null, labels.length ? ["label", t("label")] : null, ["score", ONE_FOLD ? t("anomaly score") : "−log₁₀ p"]].filter(Boolean);
  at("map-by").append(...options.map(([value, text]) => made("option", { value }, text)));
  at("map-by").addEventListener("change", () => { mapBy = at("map-by").value; legend(); redraw.get(plot)(); });
  const n = known.length / 2, kind = MAP.held_out ? t("held out") : t("learnt from");
  const notes = [
    n < MAP.n_kept ? t("{n} of the {all} normal samples that the model keeps ({kind}) are arranged by t-SNE.", { n: count(n), all: count(MAP.n_kept), kind }) : t("The {n} normal samples that the model keeps ({kind}) are arranged by t-SNE.", { n: count(n), kind }),
    rows_.length < N ? t("{n} of {files} are placed among them: the most anomalous, and others evenly spread.", { n: count(rows_.length), files: many(N) }) : t("Each of {files} is placed among them, near those whose features are nearest.", { files: many(N) }),
    MAP.folds > 1 ? t("Features are those of the first of {n} folds.", { n: MAP.folds }) : "",
    t("A map cannot show how far a sample is from all normal ones, so the title counts it: far means farther from the nearest than 95 % of normal samples are from those of other files."),
    t("Arrow keys select the nearest in their direction."),
  ];
  at("map-note").append(...notes.filter(Boolean).flatMap((text) => [text, " "]));
  const update = () => { title(); redraw.get(plot)(); };
  moving.push(update);
  legend(); update();
}
/* A colour between two, each "#rrggbb". */
function mixed(from, to, part) {
  const [a, b] = [from, to].map((colour) => [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16)));
  return `rgb(${a.map((value, k) => Math.round(value + part * (b[k] - value))).join(",")})`;
}
if (MAP.missing === null) makeMap();
else if (MAP.asked) { at("map-title").textContent = t("No map of the features"); at("map-figure").replaceChildren(made("p", { class: "soft" }, MAP.missing)); }
else at("map-card").hidden = true;
