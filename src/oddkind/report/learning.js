/* --- what was learnt: which classes are confused, and how far probabilities can be trusted --- */
const LEARNING = facts.learning;
function confusionTitle(counts, totals) {
  const n = LEARNING.names.length;
  let worst = null, most = 0;
  for (let row = 0; row < n; row += 1) for (let column = 0; column < n; column += 1) {
    const part = totals[row] ? counts[row * n + column] / totals[row] : 0;
    if (row !== column && part > most) { most = part; worst = [row, column]; }
  }
  if (!worst) return LEARNING.with_labels ? [t("No held-out view is taken for another label")] : [t("No held-out view is taken for another one")];
  const [row, column] = worst;
  return nodes("{truth} is taken for {other} most often: {part} of the views", { truth: bdi(LEARNING.names[row]), other: bdi(LEARNING.names[column]), part: share(counts[row * n + column], totals[row]) });
}
function confusionTable() {
  const counts = unpacked(LEARNING.counts), totals = unpacked(LEARNING.totals), n = LEARNING.names.length;
  const cell = (row, column) => {
    const k = counts[row * n + column], part = totals[row] ? k / totals[row] : 0;
    return made("td", { style: k ? `background: color-mix(in srgb, var(--ink) ${(4 + 26 * part).toFixed(1)}%, var(--card))` : null, class: row === column ? "right" : null }, k ? made("span", {}, `${Math.round(100 * part)} %`) : "·", k ? made("span", { class: "soft" }, ` ${count(k)}`) : null);
  };
  const head = made("tr", {}, made("th", { scope: "col" }, t("true ↓ predicted →")), ...LEARNING.names.map((name) => made("th", { scope: "col" }, bdi(name))), made("th", { scope: "col" }, t("views")));
  const body = LEARNING.names.map((name, row) => made("tr", {}, made("th", { scope: "row" }, bdi(name)), ...LEARNING.names.map((_, column) => cell(row, column)), made("td", {}, count(totals[row]))));
  const views = tn("{n} view", "{n} views", LEARNING.n), shown = n < LEARNING.n_classes ? t("The {shown} of {all} classes with the most mistakes are shown.", { shown: n, all: count(LEARNING.n_classes) }) : "";
  return made("figure", {}, made("h3", {}, ...confusionTitle(counts, totals)),
    made("div", { class: "across", tabindex: "0", role: "region", "aria-label": t("Confusions") }, made("table", { class: "confusion" }, made("thead", {}, head), made("tbody", {}, ...body))),
    made("figcaption", {}, t("Each row is a true class: the share of its views, and their number. The model keeps {samples} of {all} held-out normal samples, in {views}.", { views, samples: count(LEARNING.n_samples), all: count(LEARNING.n_held_out) }), " ", shown));
}
function reliabilityFigure() {
  const confidence = unpacked(LEARNING.confidence), accuracy = unpacked(LEARNING.accuracy), counts = unpacked(LEARNING.bin_counts), error = LEARNING.error.toFixed(3);
  let gap = 0, most = 0;
  counts.forEach((n, b) => { if (n) { gap += n * (confidence[b] - accuracy[b]) / LEARNING.n; most = Math.max(most, n); } });
  const title = LEARNING.error < 0.02 ? t("The probabilities hold: expected calibration error {error}", { error }) : gap > 0 ? t("The network is too sure: expected calibration error {error}", { error }) : t("The network is less sure than it could be: expected calibration error {error}", { error });
  const temperatures = [...new Set(LEARNING.temperatures.map(short))].join(", ");
  const draw = (pen, w, h) => {
    const box = { x: 52, y: 24, w: w - 66, h: h - 66 }, x = (v) => box.x + box.w * v, y = (v) => box.y + box.h * (1 - v), ticks = [0, 0.25, 0.5, 0.75, 1];
    axes(pen, box, ticks.map((v) => [x(v), percent(v)]), ticks.map((v) => [y(v), percent(v)]), t("confidence: the probability of the predicted class"), t("correct"));
    pen.fillStyle = ink("wash");
    counts.forEach((n, b) => { const high = n ? Math.max(2, 0.35 * box.h * n / most) : 0; pen.fillRect(x(b / counts.length) + 1, y(0) - high, box.w / counts.length - 2, high); });
    pen.strokeStyle = ink("soft"); pen.lineWidth = 1.5; pen.setLineDash([4, 4]); pen.beginPath(); pen.moveTo(x(0), y(0)); pen.lineTo(x(1), y(1)); pen.stroke(); pen.setLineDash([]);
    pen.strokeStyle = pen.fillStyle = ink("ink"); pen.lineWidth = 2;
    counts.forEach((n, b) => {
      if (!n) return;
      pen.beginPath(); pen.moveTo(x(confidence[b]), y(confidence[b])); pen.lineTo(x(confidence[b]), y(accuracy[b])); pen.stroke();
      pen.beginPath(); pen.arc(x(confidence[b]), y(accuracy[b]), 4.5, 0, 7); pen.fill();
    });
  };
  return made("figure", {}, made("h3", {}, title), canvas(270, t("Reliability diagram. {title}.", { title }), draw),
    made("figcaption", {}, t("Each point is a tenth of the range of confidence: on the dashed line, as many are correct as the network says; below, it is too sure. Bars: how many views. Probabilities at temperature {temperature}.", { temperature: temperatures }), LEARNING.with_labels && LEARNING.n > LEARNING.n_samples ? t(" A view is correct if its label and what was done to it are.") : ""));
}
at("learning").append(...(LEARNING.missing ? [made("p", { class: "soft" }, t("Confusions and reliability are not shown: {why}", { why: LEARNING.missing }))] : [confusionTable(), reliabilityFigure()]));
for (const plot of at("learning").querySelectorAll("canvas")) redraw.get(plot)();
