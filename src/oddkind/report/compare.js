/* --- another model on the same files --- */
const COMPARED = facts.compare;
const MOST_CHANGES = 100;  // rows of the list of changes
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(4)}`;
function makeComparison() {
  const Q = unpacked(COMPARED.p), learntThere = unpacked(COMPARED.learnt), reasons_ = new Map(COMPARED.reasons.map((reason) => [`${reason.row} ${reason.by}`, reason.evidence]));
  const both = [...RANKED].filter((i) => !Number.isNaN(Q[i]) && !LEARNT[i] && !learntThere[i]), name = () => bdi(COMPARED.name);
  const alarmThere = (i) => Q[i] <= rate * (1 + 1e-9), changed = (i) => isAlarm(i) !== alarmThere(i);
  const least = both.reduce((found, i) => Math.min(found, P[i], Q[i]), 0.01), lowest = Math.floor(Math.log10(least) + 1e-9), TALL = 460;
  const boxOf = (w) => ({ x: 56, y: 24, w: w - 70, h: TALL - 70 });
  const along = (p) => Math.max(0, 1 - Math.log10(p) / lowest);
  /* Equal p-values are drawn side by side: each file has its own small step. */
  const aside = (i, k) => 4 * (((i + 1) * (k ? 0.6180339887 : 0.7548776662)) % 1) - 2;
  const place = (box, i) => [box.x + box.w * along(P[i]) + aside(i, 0), box.y + box.h * (1 - along(Q[i])) + aside(i, 1)];
  const every = Math.max(1, Math.ceil(both.length / MOST_DRAWN));
  /* The files that are drawn, those whose decision changes last. */
  const drawn = () => {
    const same = [], other = [];
    both.forEach((i, k) => { if (changed(i)) other.push(i); else if (k % every === 0 || i === selected) same.push(i); });
    return [same, other];
  };
  const looks = () => {
    const found = ["other", "normal", "odd"].map((name_) => ["round", "peak", "valley"].map((form) => ({ colour: ink(name_), form, size: form === "round" ? 3 : 4.5, alpha: form === "round" ? 0.5 : 0.9 })));
    return (i) => found[TRUTH[i] + 1][!changed(i) ? 0 : isAlarm(i) ? 1 : 2];
  };
  const draw = (pen, w, h, element) => {
    const box = boxOf(w), ticks = Array.from({ length: -lowest + 1 }, (_, k) => 10 ** (lowest + k)), x = (p) => box.x + box.w * along(p), y = (p) => box.y + box.h * (1 - along(p));
    axes(pen, box, ticks.map((p) => [x(p), short(p)]), ticks.map((p) => [y(p), short(p)]), t("p-value of this model"), t("p-value of {name}", { name: COMPARED.name }));
    pen.strokeStyle = ink("soft"); pen.lineWidth = 1; pen.setLineDash([4, 4]); pen.beginPath(); pen.moveTo(x(10 ** lowest), y(10 ** lowest)); pen.lineTo(x(1), y(1)); pen.stroke();
    pen.strokeStyle = ink("odd"); pen.lineWidth = 1.5; pen.setLineDash([6, 4]); pen.beginPath();
    pen.moveTo(x(rate), box.y); pen.lineTo(x(rate), box.y + box.h); pen.moveTo(box.x, y(rate)); pen.lineTo(box.x + box.w, y(rate)); pen.stroke(); pen.setLineDash([]);
    const look = looks();
    for (const rows_ of drawn()) drawPoints(pen, rows_.map((i) => { const [px, py] = place(box, i); return [px, py, look(i)]; }));
    if (both.includes(selected)) { const [px, py] = place(box, selected); pen.strokeStyle = ink("focus"); pen.lineWidth = 3; pen.beginPath(); pen.arc(px, py, 9, 0, 7); pen.stroke(); }
    element.setAttribute("aria-label", t("P-values of both models. {title}. Selected: {name}.", { title: at("compare-plot-title").textContent, name: F.names[selected] }));
    for (const line of at("compare-list").querySelectorAll("tr[data-row]")) line.classList.toggle("selected", +line.dataset.row === selected);
  };
  const plot = canvas(TALL, "", draw, true);
  at("compare-plot").append(pointable(plot, () => drawn().flat().map((i) => [i, ...place(boxOf(plot.clientWidth), i)])));
  /* All that is counted, in one pass; the first of a pair is this model's. */
  const tally = () => {
    const found = { alarms: [0, 0], falseAlarms: [0, 0], found: [0, 0], normal: 0, anomalous: 0, agree: 0, changes: [] };
    for (const i of both) {
      const decided = [isAlarm(i), alarmThere(i)], truth = COUNTED[i] ? TRUTH[i] : -1;
      found.normal += truth === 0; found.anomalous += truth === 1; found.agree += decided[0] && decided[1];
      for (const k of [0, 1]) if (decided[k]) { found.alarms[k] += 1; found.falseAlarms[k] += truth === 0; found.found[k] += truth === 1; }
      if (decided[0] !== decided[1]) found.changes.push(i);
    }
    return found;
  };
  const table = (now) => {
    const of = COMPARED.auc, lines = [[t("alarms"), ...now.alarms.map((n) => share(n, both.length))],
      now.normal ? [t("false alarms"), ...now.falseAlarms.map((n) => share(n, now.normal))] : null,
      now.anomalous ? [t("anomalies found"), ...now.found.map((n) => share(n, now.anomalous))] : null,
      of ? ["AUC", of.here.toFixed(4), of.there.toFixed(4)] : null].filter(Boolean);
    at("compare-counts").replaceChildren(made("thead", {}, made("tr", {}, made("th", { scope: "col" }, t("at {rate}", { rate: percent(rate) })), made("th", { scope: "col" }, t("this model")), made("th", { scope: "col" }, name()))),
      made("tbody", {}, ...lines.map(([what, ...cells]) => made("tr", {}, made("th", { scope: "row" }, what), ...cells.map((cell) => made("td", {}, cell))))));
  };
  const reason = (i) => {
    const here = isAlarm(i), evidence = here && DETAIL.has(i) ? DETAIL.get(i).evidence : reasons_.get(`${i} ${here ? "here" : "there"}`);
    if (!evidence) return t("not explained");
    return evidence.length ? evidence.map((one_) => t("{place} ({part} of the evidence)", { place: one_.text, part: percent(+one_.share.toFixed(2)) })).join("; ") : t("no region raises the score");
  };
  const line = (i) => {
    const open = made("button", { type: "button" }, bdi(F.names[i]));
    open.addEventListener("click", () => select(i));
    const truth = { "-1": "", 0: t("normal"), 1: t("anomalous") }[TRUTH[i]];
    return made("tr", { "data-row": i, class: i === selected ? "selected" : null }, made("td", {}, open), made("td", {}, bdi(nameOfLabel(LABEL[i]))), made("td", {}, truth),
      made("td", { class: "p" }, short(P[i])), made("td", { class: "p" }, short(Q[i])), made("td", {}, isAlarm(i) ? t("this model") : name()), made("td", {}, bdi(reason(i))));
  };
  let listedChanges = null;
  const list = (now) => {
    const rows_ = now.changes, same = rows_.map((i) => `${i}${isAlarm(i)}`).join();
    if (same === listedChanges) return;  // between two p-values the slider changes nothing
    listedChanges = same;
    rows_.sort((a, b) => Math.abs(Math.log(P[b] / Q[b])) - Math.abs(Math.log(P[a] / Q[a])));
    const heads = [t("file"), t("label"), t("known to be"), t("p here"), t("p there"), t("alarm by"), t("why: where its evidence is")];
    at("compare-list-title").textContent = rows_.length > MOST_CHANGES ? t("The {shown} of {n} changed decisions that differ most", { shown: MOST_CHANGES, n: count(rows_.length) }) : rows_.length ? t("Changed decisions, those that differ most first") : t("No decision changes at this rate");
    at("compare-list").replaceChildren(...(rows_.length ? [made("thead", {}, made("tr", {}, ...heads.map((text) => made("th", { scope: "col" }, text)))), made("tbody", {}, ...rows_.slice(0, MOST_CHANGES).map(line))] : []));
  };
  const titles_ = (now) => {
    const [fewer, more] = now.alarms.map((n) => n - now.agree);
    at("compare-title").replaceChildren(...(more + fewer ? nodes("{n} of {files} are decided differently: alarms by {name} alone: {more}, by this model alone: {fewer}", { n: count(more + fewer), files: many(both.length), more: count(more), fewer: count(fewer), name: name() })
      : nodes("{name} decides as this model does on all of {files}", { name: name(), files: many(both.length) })));
    at("compare-plot-title").textContent = t("Both raise an alarm for {both}, neither for {none}", { both: count(now.agree), none: count(both.length - now.agree - more - fewer) });
  };
  const form = (colour, form_) => swatch(() => ({ colour: ink(colour), form: form_, alpha: 0.9 }));
  const beside = [
    every > 1 ? t("{n} of {files} are drawn, and every changed decision.", { n: count(Math.ceil(both.length / every)), files: many(both.length) }) : "",
    t("Equal p-values are drawn side by side. Orange lines: the false-alarm rate. Arrow keys select the nearest in their direction."),
  ].filter(Boolean).join(" ");
  at("compare-note").append(form("other", "peak"), t(" alarm by this model alone "), form("other", "valley"), ...nodes(" alarm by {name} alone ", { name: name() }), form("normal", "round"), t(" known to be normal "), form("odd", "round"), t(" known to be anomalous "), form("other", "round"), t(" not known"), " — ", beside);
  const left = N - both.length;
  at("compare-about").append(t("Both decide at the rate above."), " ", left ? t("{files} are not compared, because a model learnt from them or the other one cannot read them.", { files: many(left) }) : "", COMPARED.problem ? ` ${COMPARED.problem}` : "");
  const of = COMPARED.auc, verdict = !of || !of.interval ? "" : of.interval[0] > 0 ? t("the other model separates better") : of.interval[1] < 0 ? t("this model separates better") : t("no difference is shown");
  at("compare-auc").textContent = !of ? t("AUC needs files that are known to be normal and anomalous: --normal names them.")
    : of.interval ? t("Difference of the AUC: {difference} (95 % interval from {low} to {high}, paired, {files}): {verdict}.", { difference: signed(of.difference), low: signed(of.interval[0]), high: signed(of.interval[1]), files: many(of.n), verdict })
      : t("Difference of the AUC: {difference}; all files are of one group, so there is no interval.", { difference: signed(of.difference) });
  const described = ["task", "score", "pool", "n_learnt", "n_classes", "accuracy", "file", "fingerprint"];
  const flat = (model) => new Map([...Object.entries(model.settings), ["labels", model.labels.join(", ")], ...Object.entries(model.parameters), ...described.map((key_) => [key_, typeof model[key_] === "number" ? short(model[key_]) : model[key_]])]);
  const [here, there] = [flat(facts.model), flat(COMPARED.model)], keys = [...new Set([...here.keys(), ...there.keys()])].filter((key_) => (here.get(key_) ?? "") !== (there.get(key_) ?? ""));
  at("compare-models").append(made("thead", {}, made("tr", {}, made("th", {}), made("th", { scope: "col" }, t("this model")), made("th", { scope: "col" }, name()))), made("tbody", {}, ...keys.map((key_) => made("tr", {}, made("td", {}, key_.replaceAll("_", " ")), ...[here, there].map((of_) => made("td", {}, bdi(String(of_.get(key_) ?? ""))))))));
  const update = () => { const now = tally(); titles_(now); table(now); list(now); redraw.get(plot)(); };
  at("compare-card").hidden = false;
  moving.push(update);
  update();
}
if (COMPARED) makeComparison();
