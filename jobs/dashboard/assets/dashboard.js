// The page: takes what the server pushes, keeps half an hour of it, and never hides how old it is.

import { Charts } from "/assets/charts.js";
import { bytes, count, duration, perSecond, seconds, auc, number } from "/assets/format.js";

const KEPT_S = 1800;
const OLD_S = 5;
const RECONNECT_S = 10;
const byId = (id) => document.getElementById(id);

const page = {
  columns: { at: [] },
  seen: null,
  // By this machine's clock, so that a server with another clock does not look stale.
  seenAt: null,
  lastWord: performance.now(),
  minutes: Number(localStorage.getItem("freshet.minutes")) || 15,
  charts: null,
  openLog: null,
};

// --- what comes in

function connect() {
  page.stream?.close();
  page.stream = new EventSource("/events");
  page.stream.addEventListener("history", (event) => take(event, replaceHistory));
  page.stream.addEventListener("observation", (event) => take(event, appendPoint));
}

function take(event, keep) {
  const message = JSON.parse(event.data);
  page.lastWord = performance.now();
  page.seenAt = performance.now() - message.age_s * 1000;
  page.seen = message.seen;
  keep(message);
  show();
}

// A dashboard that was started again knows less than this page does.
function replaceHistory({ columns }) {
  const first = columns.at[0] ?? Infinity;
  const older = page.columns.at.filter((at) => at < first - 0.5).length;
  const names = new Set([...Object.keys(columns), ...Object.keys(page.columns)]);
  const joined = {};
  for (const name of names) {
    const before = (page.columns[name] || Array(page.columns.at.length).fill(null)).slice(0, older);
    joined[name] = before.concat(columns[name] || Array(columns.at.length).fill(null));
  }
  page.columns = joined;
}

function appendPoint({ point }) {
  const length = page.columns.at.length;
  for (const name of Object.keys(point)) page.columns[name] ??= Array(length).fill(null);
  const drop = page.columns.at.findIndex((at) => at >= point.at - KEPT_S);
  for (const [name, column] of Object.entries(page.columns)) {
    column.push(point[name] ?? null);
    if (drop > 0) column.splice(0, drop);
  }
}

// --- what is shown

function show() {
  page.charts ??= new Charts(byId("charts"), byId("joiner"), page.seen.shards.length, quality(page.seen).id);
  showCharts();
  showHeadline(page.seen);
  showJoiner(page.seen);
  showRun(page.seen);
  showParts(page.seen.parts);
  showAge();
  if (page.openLog) readLog();
}

function showCharts() {
  const times = page.columns.at;
  if (!times.length) return;
  const end = times.at(-1);
  const start = Math.max(times[0], end - page.minutes * 60);
  page.charts.draw(page.columns, [Math.min(start, end - 30), end]);
}

function put(id, ...children) {
  byId(id).replaceChildren(...children);
}

function unit(text) {
  const made = document.createElement("span");
  made.textContent = text;
  return made;
}

function showHeadline(seen) {
  const p99 = seen.freshness_p99_ms, p50 = seen.freshness_p50_ms;
  const [value, of] = seconds(p99 == null ? null : p99 / 1000).split(" ");
  put("big-freshness", value, ...(of ? [unit(of)] : []));
  if (p50 != null) put("under-freshness", `p50 ${seconds(p50 / 1000)} · from a user’s action to a served score that used it`);
  showQuality(quality(seen));
  put("big-joined", perSecond(seen.events_per_s.joined), ...(seen.events_per_s.joined == null ? [] : [unit("/s")]));
  put("under-joined", `${seen.totals.joined.toLocaleString("en")} joined · ${seen.totals.learnt.toLocaleString("en")} learnt · late ${count(seen.joins.late)} · dead ${count(seen.joins.late == null ? null : seen.joins.malformed + seen.joins.orphan)}`);
}

// What fits the kind of the job's first label; `better`: 1 when more is better.
function quality({ label, auc: areas, rmse: errors }) {
  const isNumber = Object.keys(errors).length > 0;
  return isNumber ? { label, id: "rmse", name: "RMSE", format: number, better: -1, of: errors } : { label, id: "auc", name: "AUC", format: auc, better: 1, of: areas };
}

function showQuality({ label, name, format, better, of: { online, frozen, best } }) {
  put("title-quality", `${name} of ${label}`);
  put("big-quality", format(online));
  if (online == null) return;
  const lift = frozen == null ? null : online - frozen;
  if (lift != null) {
    const made = document.createElement("b");
    made.dataset.lift = lift * better >= 0 ? "up" : "down";
    made.textContent = `${lift >= 0 ? "▲ +" : "▼ −"}${format(Math.abs(lift))}`;
    byId("big-quality").append(made);
  }
  const told = frozen == null ? ["the model to compare with is not frozen yet"] : [`${better > 0 ? "over" : "against"} the frozen model’s ${format(frozen)}`];
  if (best != null) told.push(`best possible ${format(best)}`);
  put("under-quality", told.join(" · "));
}

// Always shown, and those that a job need not have.
const OUTCOMES = [["matched", "matched"], ["negative", "negative"], ["sampled_away", "sampled away"], ["late", "late"], ["orphan", "orphaned"], ["malformed", "malformed"]];
const RARE = [["correction", "corrected"], ["duplicate", "duplicate"], ["unlabelled", "without a label"], ["unused", "of no label"], ["pooled", "from the pool"], ["rule_error", "rule errors"], ["left_out", "values left out"]];

function showJoiner({ joiner, joins }) {
  const waiting = joiner.waiting_requests == null ? "–" : `${joiner.waiting_requests.toLocaleString("en")} in ${bytes(joiner.waiting_bytes)}`;
  const age = joiner.checkpoint_age_s == null ? "–" : `${duration(joiner.checkpoint_age_s)} ago`;
  const figures = [
    ["job", joiner.state == null ? "–" : joiner.state.toLowerCase()], ["waiting", waiting],
    ["event time behind", duration(joiner.watermark_lag_s)], ["checkpoint", age],
    ["its size", bytes(joiner.checkpoint_bytes)], ["it took", seconds(joiner.checkpoint_s)],
    ...(joiner.pool_items == null ? [] : [["pool", joiner.pool_items.toLocaleString("en")]]),
    ...OUTCOMES.map(([key, name]) => [name, joins[key]?.toLocaleString("en") ?? "–"]),
    ...RARE.filter(([key]) => joins[key] > 0).map(([key, name]) => [name, joins[key].toLocaleString("en")]),
  ];
  const text = JSON.stringify(figures);
  if (text === page.shownJoiner) return;
  page.shownJoiner = text;
  put("joiner-figures", ...figures.map(figure));
}

function figure([name, value]) {
  const made = document.createElement("div"), term = document.createElement("dt"), told = document.createElement("dd");
  term.textContent = name;
  told.textContent = value;
  made.dataset.figure = name;
  made.append(term, told);
  return made;
}

function showRun(seen) {
  const { run } = seen;
  put("job-name", run.job ? `/ ${run.job}` : "");
  const since = run.started ? ` for ${duration(seen.at - run.started)}` : "";
  put("run-state", run.state ? `${run.state}${since}` : "parts on several machines");
}

function cell(text, className) {
  const made = document.createElement("td");
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function showParts(parts) {
  const ready = parts.filter((part) => part.state === "ready" && !part.remedy).length;
  put("parts-count", `${ready} of ${parts.length} ready`);
  const state = JSON.stringify([parts, Math.floor(page.seen.at / 5)]);
  // Only what has changed: else a click would miss its button.
  if (state === page.shownParts) return;
  page.shownParts = state;
  const focused = document.activeElement?.dataset?.log;
  put("parts-rows", ...parts.map(partRow));
  if (focused) document.querySelector(`[data-log="${CSS.escape(focused)}"]`)?.focus();
}

function partRow(part) {
  const row = document.createElement("tr");
  row.dataset.part = part.name;
  const state = cell("");
  const word = document.createElement("span");
  word.className = "state";
  word.dataset.state = part.state;
  word.textContent = part.state;
  state.append(word);
  const why = part.remedy || part.detail || part.error;
  if (why) {
    const told = document.createElement("span");
    told.className = "remedy";
    told.textContent = why;
    state.append(told);
  }
  const since = part.since ? duration(page.seen.at - part.since) : "–";
  row.append(cell(part.name), state, cell(since), cell(part.restarts ?? "–"), cell(part.address ?? "–", "path"), logCell(part));
  return row;
}

function logCell(part) {
  const made = cell("", "path");
  const name = /([^/]+)\.log$/.exec(part.log || "")?.[1];
  if (!name) return made;
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.log = name;
  button.textContent = part.log;
  button.addEventListener("click", () => openLog(name));
  made.append(button);
  return made;
}

// --- age and alarms: also when nothing comes in

function showAge() {
  const age = page.seenAt == null ? null : (performance.now() - page.seenAt) / 1000;
  const isOld = age != null && age > OLD_S;
  byId("age").dataset.state = age == null ? "waiting" : isOld ? "old" : "live";
  put("age-text", age == null ? "connecting" : `data is ${age < 9.95 ? age.toFixed(1) : Math.round(age)} s old`);
  const silent_s = (performance.now() - page.lastWord) / 1000;
  showBanner(isOld ? lost(age) : page.seen?.alarms ?? (silent_s > OLD_S ? neverMet() : []), isOld);
  const mark = isOld || page.seen?.alarms.length ? "⚠ " : "";
  const { name, format, of } = page.seen ? quality(page.seen) : {};
  const told = page.seen ? `${seconds(page.seen.freshness_p99_ms == null ? null : page.seen.freshness_p99_ms / 1000)} · ${name} ${format(of.online)} · ` : "";
  document.title = `${mark}${told}${page.seen?.run.job ?? ""} Freshet`;
}

function lost(age) {
  return [
    `What is shown is ${duration(age)} old. The page tries again by itself; if it stays so, see whether the run still goes ` +
    "(`freshet status`), and logs/dashboard.log.",
  ];
}

function neverMet() {
  return ["No data has come yet: the dashboard is still starting, or its log (logs/dashboard.log) says why not."];
}

function titleOf(alarms) {
  if (["stopping", "stopped"].includes(page.seen?.run.state)) return "This is over";
  return alarms.length > 1 ? `${alarms.length} things need you` : "One thing needs you";
}

function showBanner(alarms, isLost) {
  byId("banner").hidden = !alarms.length;
  const title = isLost ? "The connection to the dashboard is lost" : titleOf(alarms);
  const text = [title, ...alarms].join("\n");
  // Said once to those who listen to the page, not each second.
  if (text === page.bannerText) return;
  page.bannerText = text;
  put("banner-title", title);
  put("banner-list", ...alarms.map((alarm) => {
    const made = document.createElement("li");
    made.textContent = alarm;
    return made;
  }));
}

// --- texts: logs and the job file

async function readText(path) {
  try {
    return await (await fetch(path)).text();
  } catch {
    return "The dashboard does not answer.";
  }
}

function openText(title) {
  put("text-title", title);
  put("text", "…");
  byId("text-dialog").showModal();
}

async function openLog(name) {
  page.openLog = name;
  openText(`logs/${name}.log, last lines`);
  await readLog();
  byId("text").scrollTop = byId("text").scrollHeight;
}

async function readLog() {
  const name = page.openLog, box = byId("text");
  const text = (await readText(`/logs/${encodeURIComponent(name)}`)) || "(empty)";
  if (name !== page.openLog || box.textContent === text) return;
  const isAtEnd = box.scrollTop + box.clientHeight > box.scrollHeight - 30;
  box.textContent = text;
  if (isAtEnd) box.scrollTop = box.scrollHeight;
}

byId("open-job").addEventListener("click", async () => {
  openText("The job file (all that it sets; secrets are masked)");
  byId("text").textContent = await readText("/job");
});
byId("text-close").addEventListener("click", () => byId("text-dialog").close());
byId("text-dialog").addEventListener("close", () => { page.openLog = null; });
byId("text-dialog").addEventListener("click", (event) => event.target === byId("text-dialog") && byId("text-dialog").close());

// --- the period

function choosePeriod(minutes) {
  page.minutes = minutes;
  localStorage.setItem("freshet.minutes", minutes);
  for (const button of document.querySelectorAll("[data-minutes]")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.minutes) === minutes));
  }
  if (page.charts) showCharts();
}

for (const button of document.querySelectorAll("[data-minutes]")) {
  button.addEventListener("click", () => choosePeriod(Number(button.dataset.minutes)));
}
choosePeriod(page.minutes);
connect();
setInterval(() => {
  showAge();
  // A stream that is closed for good, or open and silent, is opened anew.
  const isDead = page.stream.readyState === EventSource.CLOSED || performance.now() - page.lastWord > RECONNECT_S * 1000;
  if (isDead && performance.now() - (page.tried ?? 0) > 2000) {
    page.tried = performance.now();
    connect();
  }
}, 250);
