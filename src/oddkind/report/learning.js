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
  let gap = 0;
  counts.forEach((n, b) => { if (n) gap += n * (confidence[b] - accuracy[b]) / LEARNING.n; });
  const title = LEARNING.error < 0.02 ? t("The probabilities hold: expected calibration error {error}", { error }) : gap > 0 ? t("The network is too sure: expected calibration error {error}", { error }) : t("The network is less sure than it could be: expected calibration error {error}", { error });
  const temperatures = [...new Set(LEARNING.temperatures.map(short))].join(", ");
  const bins = Array.from(counts, (n, b) => ({ share: n / LEARNING.n, confidence: confidence[b], accuracy: accuracy[b] })).filter((bin) => bin.share);
  const texts = { xText: t("confidence: the probability of the predicted class"), yText: t("correct") };
  return made("figure", {}, made("h3", {}, title), canvas(270, t("Reliability diagram. {title}.", { title }), (pen, w, h) => drawReliability(pen, w, h, { bins, ...texts })),
    made("figcaption", {}, t("Each dot is a tenth of the range of confidence, its area how many views: on the dashed line, as many are correct as the network says; below, it is too sure. Probabilities at temperature {temperature}.", { temperature: temperatures }), LEARNING.with_labels && LEARNING.n > LEARNING.n_samples ? t(" A view is correct if its label and what was done to it are.") : ""));
}
at("learning").append(...(LEARNING.missing ? [made("p", { class: "soft" }, t("Confusions and reliability are not shown: {why}", { why: LEARNING.missing }))] : [confusionTable(), reliabilityFigure()]));
for (const plot of at("learning").querySelectorAll("canvas")) redraw.get(plot)();
