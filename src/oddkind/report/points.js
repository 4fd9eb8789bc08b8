/* --- points: drawn in bulk, shown under the mouse, selected by a click or the arrow keys --- */
/* Adds a mark to the path of a pen: what labels look like without colour. */
function outline(pen, form, x, y, r) {
  if (form === "square") pen.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r);
  else if (form === "diamond") { pen.moveTo(x, y - 1.3 * r); pen.lineTo(x + 1.3 * r, y); pen.lineTo(x, y + 1.3 * r); pen.lineTo(x - 1.3 * r, y); pen.closePath(); }
  else if (form === "peak" || form === "valley") { const up = form === "peak" ? 1 : -1; pen.moveTo(x, y - 1.3 * r * up); pen.lineTo(x + 1.2 * r, y + r * up); pen.lineTo(x - 1.2 * r, y + r * up); pen.closePath(); }
  else if (form === "plus") { pen.rect(x - 1.3 * r, y - 0.4 * r, 2.6 * r, 0.8 * r); pen.rect(x - 0.4 * r, y - 1.3 * r, 0.8 * r, 2.6 * r); }
  else { pen.moveTo(x + r, y); pen.arc(x, y, r, 0, 7); }
}
/* Draws points [x, y, look]; a look is { colour, form, size, alpha, edge }. Some of one look are filled at once: for each
   by itself it takes long, and for a path of thousands, too. */
function drawPoints(pen, points) {
  const looks = new Map(), atOnce = 16;
  for (const point of points) { const look = point[2]; if (!looks.has(look)) looks.set(look, []); looks.get(look).push(point); }
  for (const [look, own] of looks) {
    pen.globalAlpha = look.alpha; pen.fillStyle = look.colour;
    if (look.edge) { pen.strokeStyle = look.edge; pen.lineWidth = 1.5; }
    for (let k = 0; k < own.length; k += atOnce) {
      pen.beginPath();
      for (const [x, y] of own.slice(k, k + atOnce)) outline(pen, look.form, x, y, look.size);
      pen.fill();
      if (look.edge) pen.stroke();
    }
  }
  pen.globalAlpha = 1;
}
/* A small picture of a look for a legend; `lookOf` is asked again when the theme changes. */
function swatch(lookOf) {
  const element = made("canvas", { class: "swatch", width: 36, height: 36, "aria-hidden": "true" });
  const again = () => {
    const pen = element.getContext("2d");
    pen.setTransform(2, 0, 0, 2, 0, 0); pen.clearRect(0, 0, 18, 18);
    drawPoints(pen, [[9, 9, { ...lookOf(), size: 5 }]]);
  };
  redraw.set(element, again);
  again();
  return element;
}
function nearestTo(places, x, y, within) {
  let best = null, least = within;
  for (const place of places) { const away = Math.hypot(place[1] - x, place[2] - y); if (away < least) { least = away; best = place; } }
  return best;
}
/* The nearest point in the direction of an arrow key; those aside count as farther. */
function towards(places, from, key) {
  const along = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
  let best = null, least = Infinity;
  for (const place of places) {
    const dx = place[1] - from[1], dy = place[2] - from[2], ahead = dx * along[0] + dy * along[1];
    const away = ahead + 2.5 * Math.abs(dx * along[1] - dy * along[0]);
    if (place[0] !== from[0] && ahead > 0.5 && away < least) { least = away; best = place; }
  }
  return best;
}
/* What is shown of a file under the mouse. */
function glance(i) {
  const truth = { "-1": null, 0: t("known to be normal"), 1: t("known to be anomalous") }[TRUTH[i]];
  const lines = [t("p-value {p}", { p: short(P[i]) }), LABEL[i] < 0 ? null : t("label {label}", { label: nameOfLabel(LABEL[i]) }), truth].filter(Boolean);
  return [DETAIL.has(i) ? thumbnail(i) : null, made("div", {}, bdi(F.names[i]), made("div", { class: "soft" }, bdi(lines.join(" · "))), LEARNT[i] ? null : badge(isAlarm(i)))];
}
/* Wraps a canvas of points; `places` returns [i, x, y] of each in pixels. */
function pointable(plot, places) {
  const tip = made("div", { class: "tip", "aria-hidden": "true" }), ring = made("div", { class: "ring", "aria-hidden": "true" });
  const hide = () => { tip.hidden = ring.hidden = true; };
  const show = (place) => {
    if (!place) { hide(); return; }
    const [i, x, y] = place, wide = plot.clientWidth;
    tip.replaceChildren(...glance(i).filter(Boolean));
    tip.hidden = ring.hidden = false;
    ring.style.left = `${x}px`; ring.style.top = `${y}px`;
    tip.style.top = `${Math.max(0, y - 20)}px`;
    tip.style.left = x < wide / 2 ? `${x + 18}px` : "auto"; tip.style.right = x < wide / 2 ? "auto" : `${wide - x + 18}px`;
  };
  const under = (event) => { const at_ = plot.getBoundingClientRect(); return nearestTo(places(), event.clientX - at_.left, event.clientY - at_.top, 24); };
  plot.addEventListener("mousemove", (event) => show(under(event)));
  plot.addEventListener("mouseleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("click", (event) => { const place = under(event); if (place) select(place[0]); });
  plot.addEventListener("keydown", (event) => {
    if (event.key === "Enter") { event.preventDefault(); at("why").focus(); return; }
    if (!event.key.startsWith("Arrow")) return;
    event.preventDefault();
    const all = places(), from = all.find((place) => place[0] === selected), next = from ? towards(all, from, event.key) : all[0];
    if (next) { select(next[0]); show(next); }
  });
  hide();
  return made("div", { class: "pointed" }, plot, ring, tip);
}
