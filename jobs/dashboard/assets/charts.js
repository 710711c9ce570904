// The charts, and how uPlot draws them.

import { auc, bytes, count, milliseconds, number, perSecond, seconds } from "/assets/format.js";

const COLOURS = ["blue", "orange", "green", "purple", "pink", "teal", "gold", "grey"];
const DASHES = { dashed: [7, 4], dotted: [2, 4] };
// Three charts share one time axis; the first shows what was promised.
const SCORES = [
  { key: "best", label: "best possible", colour: "grey", dash: "dotted" },
  { key: "online", label: "served", colour: "green", width: 2.4 },
  { key: "frozen", label: "frozen at the start", colour: "orange", dash: "dashed" },
];
const CHARTS = [
  {
    id: "freshness", title: "Freshness", about: "action → served score", format: seconds, empty: "No action has come back in a served score yet.",
    range: (max) => [0, Math.max(9.4, max * 1.08)], promise: { value: 8, label: "promised p99: 8 s" }, fill: ["p99", "p50"],
    series: [{ key: "p99", label: "p99", colour: "blue", width: 2.2 }, { key: "p50", label: "p50", colour: "teal" }],
  },
  {
    id: "auc", title: "AUC", about: "of the scores as served", format: auc, empty: "Needs clicks and closed windows: the first come within a minute.",
    range: (max, min) => [Math.min(0.5, min - 0.01), Math.max(0.8, max + 0.015)], fill: ["online", "frozen"], series: SCORES,
  },
  {
    id: "rmse", title: "RMSE", about: "of the numbers as served", format: number, empty: "Needs closed windows: the first come within a minute.",
    fill: ["frozen", "online"], series: SCORES,
  },
  {
    id: "rate", title: "Events", about: "per second, by stage", format: perSecond, empty: "No traffic yet.",
    series: [
      { key: "asked", label: "asked", colour: "blue" }, { key: "actions", label: "actions", colour: "pink" },
      { key: "joined", label: "joined", colour: "orange" }, { key: "learnt", label: "learnt", colour: "green", dash: "dashed" },
      { key: "published", label: "rows published", colour: "purple" }, { key: "served", label: "served", colour: "teal", dash: "dotted" },
    ],
  },
  {
    id: "lag", title: "Lag", about: "seconds behind, by stage", format: seconds, empty: "No stage has begun.",
    range: (max) => [0, Math.max(2, max * 1.08)],
    series: [
      { key: "joiner", label: "joiner", colour: "orange" }, { key: "trainer", label: "trainer", colour: "green" },
      { key: "ps", label: "shards", colour: "purple" }, { key: "replica", label: "replicas", colour: "teal" },
    ],
  },
  {
    id: "join", title: "Joins", about: "outcomes per second", format: perSecond, empty: "Nothing has been joined yet.",
    series: [
      { key: "matched", label: "matched", colour: "green" }, { key: "negative", label: "negative", colour: "blue" },
      { key: "sampled_away", label: "sampled away", colour: "grey", dash: "dashed" },
      { key: "unused", label: "unused", colour: "purple", dash: "dotted", quiet: true },
      { key: "duplicate", label: "duplicate", colour: "gold", dash: "dotted", bad: true },
      { key: "late", label: "late", colour: "orange", bad: true }, { key: "dead", label: "dead", colour: "pink", bad: true },
    ],
  },
];
const SHARD_PLOTS = [
  { prefix: "rows", name: "rows", format: count },
  { prefix: "memory", name: "memory", format: bytes, base: 1024 },
  { prefix: "lookup", name: "lookup p99", format: milliseconds },
];

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function swatch(series) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  const attributes = { x1: 0, x2: 18, y1: 5, y2: 5, "stroke-width": 3, stroke: `var(--${series.colour})` };
  for (const [name, value] of Object.entries(attributes)) line.setAttribute(name, value);
  if (series.dash) line.setAttribute("stroke-dasharray", series.dash === "dashed" ? "5 2.5" : "2 2.5");
  made.setAttribute("width", 18);
  made.setAttribute("height", 10);
  made.setAttribute("aria-hidden", "true");
  made.append(line);
  return made;
}

// One plot in one box. `spec`: id, series [{column, colour, dash}], range, format.
class Plot {
  constructor(spec, box, onCursor, hasTimes) {
    Object.assign(this, { spec, box, onCursor, hasTimes, data: null });
    this.empty = element("p", { class: "empty" }, spec.empty || "");
    box.append(this.empty);
    new ResizeObserver(() => this.resize()).observe(box);
  }

  draw(times, columns, range) {
    const lines = this.spec.series.map((each) => columns[each.column] || times.map(() => null));
    this.data = [times, ...lines];
    this.period = range;
    const isEmpty = !lines.some((line) => line.some((value) => value != null));
    this.empty.hidden = !isEmpty;
    if (!this.plot) this.create();
    else this.plot.setData(this.data);
    this.box.dataset.points = isEmpty ? 0 : times.length;
  }

  create() {
    if (!this.box.clientWidth || !this.data) return;
    this.plot = new uPlot(this.options(), this.data, this.box);
  }

  // Colours are read when a plot is made: a change of theme makes it anew.
  recreate() {
    this.plot?.destroy();
    this.plot = null;
    this.create();
  }

  resize() {
    if (!this.plot) this.create();
    else this.plot.setSize({ width: this.box.clientWidth, height: this.box.clientHeight });
  }

  options() {
    const { spec, box } = this;
    return {
      width: box.clientWidth, height: box.clientHeight, padding: [this.spec.name ? 15 : 8, 30, 0, 0], legend: { show: false },
      cursor: { sync: { key: "freshet" }, y: false, drag: { x: false, y: false }, points: { size: 7 } },
      scales: { x: { time: true, range: () => this.period }, y: { range: (_, min, max) => this.valueRange(min, max) } },
      axes: this.axes(),
      series: [{}, ...spec.series.map((each) => this.line(each))],
      bands: this.bands(),
      hooks: { setCursor: [(plot) => this.onCursor(plot.cursor.idx)], drawAxes: [(plot) => this.drawPromise(plot)] },
    };
  }

  valueRange(min, max) {
    if (this.spec.range) return this.spec.range(max ?? 0, min ?? 1);
    return [0, max > 0 ? max * 1.1 : 1];
  }

  axes() {
    const { format, base } = this.spec;
    const shared = { stroke: colour("quiet"), font: "11px system-ui, sans-serif", ticks: { show: false }, grid: { stroke: colour("grid"), width: 1 } };
    const values = (_, splits) => splits.map((value) => (value === 0 ? "0" : format(value)));
    const clock = { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false };
    const time = (_, splits) => splits.map((at) => new Date(at * 1000).toLocaleTimeString([], clock));
    const powers = base && { incrs: Array.from({ length: 40 }, (_, i) => 2 ** i) };
    return [
      { ...shared, space: 90, size: this.hasTimes ? 26 : 4, values: this.hasTimes ? time : () => [] },
      { ...shared, space: this.box.clientHeight < 100 ? 17 : 34, size: 52, gap: 6, values, ...powers },
    ];
  }

  line(each) {
    const made = { stroke: colour(each.colour), width: each.width || 1.8, points: { show: false }, spanGaps: false };
    return each.dash ? { ...made, dash: DASHES[each.dash] } : made;
  }

  // What is between two lines is the gain: freshness to the median, AUC over the frozen model.
  bands() {
    const { fill, series } = this.spec;
    if (!fill) return [];
    const [upper, lower] = fill.map((key) => series.findIndex((each) => each.key === key) + 1);
    return [{ series: [upper, lower], fill: `color-mix(in srgb, ${colour(series[upper - 1].colour)} 14%, transparent)` }];
  }

  drawPromise(plot) {
    const { promise } = this.spec;
    if (!promise) return;
    const { ctx, bbox } = plot, y = Math.round(plot.valToPos(promise.value, "y", true));
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = colour("quiet");
    ctx.setLineDash([3, 5]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textAlign = "right";
    ctx.textBaseline = "bottom";
    ctx.fillText(promise.label, bbox.left + bbox.width - 4, y - 2 * devicePixelRatio);
    ctx.restore();
  }
}

// Of outcomes that should be rare: users are late now and then.
const MANY = 0.01;

// A card: title, a legend with the values at the cursor or now, and one plot or more.
class Card {
  constructor(parent, { id, title, about, entries, plots }) {
    this.entries = entries;
    this.values = entries.map(() => element("b", {}, "–"));
    this.items = entries.map((entry, i) => element("li", {}, swatch(entry), `${entry.label} `, this.values[i]));
    const legend = element("ul", { class: "legend" }, ...this.items);
    const boxes = plots.map((spec) => element("div", { class: "plot", "data-plot": spec.id }));
    plots.forEach((spec, i) => spec.name && boxes[i].append(element("span", { class: "name" }, spec.name)));
    const stack = plots.length > 1 ? [element("div", { class: "plots" }, ...boxes)] : boxes;
    const heading = element("h2", {}, `${title} `, element("small", {}, about));
    parent.append(element("article", { id: `chart-${id}`, "aria-label": `${title}, ${about}` }, heading, legend, ...stack));
    this.plots = plots.map((spec, i) => new Plot(spec, boxes[i], (at) => this.tell(at), i === plots.length - 1));
  }

  draw(times, columns, range) {
    this.columns = columns;
    for (const plot of this.plots) plot.draw(times, columns, range);
    this.tell(this.plots[0].plot?.cursor.idx);
  }

  share(entry) {
    const now = ({ column }) => (this.columns[column] || []).at(-1) || 0;
    return now(entry.columns[0]) / Math.max(1e-9, this.entries.reduce((sum, each) => sum + now(each.columns[0]), 0));
  }

  tell(index) {
    if (!this.columns) return;
    this.entries.forEach((entry, i) => {
      const texts = entry.columns.map(({ column, format }) => format((this.columns[column] || []).at(index ?? -1)));
      const text = texts.join(" · ");
      if (this.values[i].textContent !== text) this.values[i].textContent = text;
      this.items[i].dataset.bad = Boolean(entry.bad && this.share(entry) > MANY);
      // An outcome that this job does not have needs no room.
      this.items[i].hidden = Boolean(entry.quiet && !(this.columns[entry.columns[0].column] || []).some((value) => value > 0));
    });
  }
}

function shardCard(shards) {
  const names = shards <= 8 ? Array.from({ length: shards }, (_, i) => String(i)) : ["all"];
  const label = (name) => (name === "all" ? `all ${shards} shards` : `shard ${name}`);
  const style = (i) => ({ colour: COLOURS[i % COLOURS.length], dash: i % 2 ? "dashed" : undefined });
  const entries = names.map((name, i) => ({
    ...style(i), label: label(name), columns: SHARD_PLOTS.map((plot) => ({ column: `${plot.prefix}.${name}`, format: plot.format })),
  }));
  const plots = SHARD_PLOTS.map((plot) => ({
    ...plot, id: plot.prefix, series: names.map((name, i) => ({ ...style(i), column: `${plot.prefix}.${name}` })),
  }));
  return { id: "shards", title: "Shards", about: "rows · memory · lookup p99", entries, plots };
}

const JOINER_PLOTS = [
  { key: "requests", name: "requests waiting", label: "waiting", colour: "blue", format: count, empty: "Engine python does not tell." },
  { key: "bytes", name: "bytes waiting", label: "in", colour: "purple", format: bytes, base: 1024, empty: "Engine python does not tell." },
  { key: "watermark", name: "event time behind the clock", label: "event time behind by", colour: "orange", format: seconds },
];

function joinerCard() {
  const plots = JOINER_PLOTS.map(({ key, colour, ...spec }) => ({ ...spec, id: `joiner-${key}`, series: [{ colour, column: `joiner.${key}` }] }));
  const entries = JOINER_PLOTS.map(({ key, label, colour, format }) => ({ label, colour, columns: [{ column: `joiner.${key}`, format }] }));
  return { id: "joiner", title: "Waiting", about: "requests with an open window · event time", entries, plots };
}

function plainCard(chart) {
  const series = chart.series.map((each) => ({ ...each, column: `${chart.id}.${each.key}` }));
  const entries = series.map((each) => ({ ...each, columns: [{ column: each.column, format: chart.format }] }));
  return { ...chart, entries, plots: [{ ...chart, series }] };
}

export class Charts {
  // `joiner`: where the joiner's card goes; `quality`: the id of the chart that fits the job's first label.
  constructor(parent, joiner, shards, quality) {
    const charts = CHARTS.filter(({ id }) => id === quality || !["auc", "rmse"].includes(id));
    this.cards = [...charts.map(plainCard), shardCard(shards)].map((card) => new Card(parent, card));
    this.cards.push(new Card(joiner, joinerCard()));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      for (const card of this.cards) for (const plot of card.plots) plot.recreate();
    });
  }

  // `columns`: by name, `at` among them; `range`: the seconds shown.
  draw(columns, range) {
    for (const card of this.cards) card.draw(columns.at, columns, range);
  }
}
