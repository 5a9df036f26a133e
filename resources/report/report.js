"use strict";
// Draws `report/1`. Nothing that decides is computed here: letters are counted, figures are shown as they came.
// Every text of the report gets in through text nodes only.

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const WORD = {p: "pass", f: "fail", i: "inconclusive", e: "error", v: "invalid", m: "some trials pass"};
const KINDS = [
  ["broken", "passed, now fails"],
  ["fixed", "failed, now passes"],
  ["flaky", "changes between trials"],
  ["unchanged", "same as before"],
  ["left_out", "error or invalid"],
];
const MANY_PERSONAS = 12;
const ROWS = 14;
const STEP = 100;

let D; // the report
let scenarios, personas; // by id
let conversations; // by id
let same; // simulations by scenario and persona
let shown = []; // the conversations that the list holds, in its order
const filter = {simulation: null, cause: null, kind: null, text: ""};

// ---- elements

// h("div.a.b", {attribute: value, onclick: f}, ...children)
function h(tag, attributes, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  return filled(element, attributes, children);
}

function s(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(9)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

// A text that somebody else said: its own direction, and what cannot be seen made visible.
function quoted(tag, text, attributes) {
  return h(tag, {dir: "auto", ...attributes}, visible(text));
}

function visible(text) {
  return String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g,
    (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
}

function button(tag, text, onclick, attributes) {
  return h(tag, {type: "button", onclick, ...attributes}, text);
}

// ---- numbers and words

const plural = (n, word) => n.toLocaleString("en-US") + " " + word + (n === 1 ? "" : "s");
const whole = (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x)); // halves to even, as in every reply
const percent = (x) => (x === null || x === undefined ? "\u2013" : whole(x * 100) + "%");
const points = (x) => (x > 0 ? "+" : x < 0 ? "\u2212" : "") + Math.abs(whole(x * 100));
const interval = (a) => "[" + whole(a.low * 100) + ", " + whole(a.high * 100) + "]";
const money = (x) => (x === null || x === undefined ? "unknown" : x > 0 && x < 0.01 ? "$" + x.toFixed(4) : "$" + x.toFixed(2));
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

function day(text) {
  const m = /^(\d{4})-(\d{2})-(\d{2})T(\d{2}:\d{2})/.exec(text || "");
  return m ? Number(m[3]) + " " + MONTHS[m[2] - 1] + " " + m[1] + ", " + m[4] + " UTC" : text || "";
}

const compact = (value) => (typeof value === "string" ? value : JSON.stringify(value));
const flat = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 1).replace(/\n\s*/g, " "));

// A persona may meet a scenario in several simulations, which differ in the first message: these are told apart by their ids.
function namesOf(simulation) {
  const [scenario, persona] = D.simulations[simulation];
  return [scenarios[scenario].title, personas[persona].name + (same.get(pairOf(simulation)).length > 1 ? " (" + simulation + ")" : "")];
}

const pairOf = (simulation) => D.simulations[simulation].join("/");

const scenarioOf = (simulation) => scenarios[D.simulations[simulation][0]];
const passes = (letters) => [...letters].filter((x) => x === "p").length;
const counted = (letters) => [...letters].filter((x) => "pfi".includes(x)).length;

// The state of a simulation from the letters of its trials.
function stateOf(letters) {
  if (!letters) return "n";
  const seen = new Set([...letters].filter((x) => "pfi".includes(x)));
  if (!seen.size) return letters.includes("e") ? "e" : "v";
  return seen.size === 1 ? [...seen][0] : "m";
}

// ---- shapes: disc, square, diamond, triangle, ring, half disc. Never colour alone.

const SHAPES = {
  p: [["circle", {cx: 8, cy: 8, r: 7}], ["path", {d: "M4.6 8.2l2.3 2.4 4.5-5"}]],
  f: [["rect", {x: 1.5, y: 1.5, width: 13, height: 13, rx: 2}], ["path", {d: "M5 5l6 6M11 5l-6 6"}]],
  i: [["path", {d: "M8 .8L15.2 8 8 15.2.8 8z"}], ["path", {d: "M5 8h6"}]],
  e: [["path", {d: "M8 1l7.4 13.4H.6z"}], ["path", {d: "M8 5.6v4.2M8 12v.3"}]],
};

function glyph(verdict, size = 14) {
  const g = s("svg", {class: "g c-" + verdict, width: size, height: size, viewBox: "0 0 16 16", role: "img", "aria-label": WORD[verdict]});
  const ring = () => s("circle", {cx: 8, cy: 8, r: 6, fill: "none", stroke: "currentColor", "stroke-width": 2});
  if (verdict === "v") g.append(ring(), s("path", {d: "M4 12L12 4", stroke: "currentColor", "stroke-width": 2}));
  else if (verdict === "m") g.append(ring(), s("path", {d: "M8 2a6 6 0 0 1 0 12z", fill: "currentColor"}));
  else {
    const [[body, at], [, mark]] = SHAPES[verdict];
    g.append(s(body, {...at, fill: "currentColor"}));
    g.append(s("path", {...mark, fill: "none", stroke: "var(--bg)", "stroke-width": 2, "stroke-linecap": "round", "stroke-linejoin": "round"}));
  }
  return g;
}

const told = (verdict, text) => h("span.v.c-" + verdict, null, glyph(verdict), h("span", null, text || WORD[verdict]));
const empty = (title, text) => h("div.empty", null, h("b", null, title), text);

// ---- charts, drawn again when the width changes

const charts = [];

function chart(draw, label) {
  const box = h("figure", {role: "img", "aria-label": label});
  charts.push(() => {
    const width = Math.round(box.clientWidth);
    if (!width) return;
    const g = draw(width);
    g.setAttribute("viewBox", "0 0 " + width + " " + g.getAttribute("height"));
    box.replaceChildren(g);
  });
  return box;
}

const redraw = () => charts.forEach((draw) => draw());

function label(x, y, text, o = {}) {
  return s("text", {x, y, "font-size": o.size || 12, fill: o.fill || "var(--soft)", "text-anchor": o.at || "start", "font-weight": o.weight || 400}, text);
}

function line(x1, y1, x2, y2, o = {}) {
  return s("line", {x1, y1, x2, y2, stroke: o.color || "var(--line)", "stroke-width": o.width || 1, "stroke-linecap": o.cap});
}

// ---- the head: decision, rates on one axis, what the proof found

const TONE = {p: "pass", f: "fail", i: "inc", v: "inv", e: "err", m: "mix"};

function head() {
  const top = D.head;
  const where = [D.environment_name || D.environment, D.source, day(D.as_of)].filter(Boolean).join(" \u00b7 ");
  const left = h("div", null,
    h("p.eyebrow", null, where),
    h("h1", {class: "c-" + top.tone}, glyph(top.tone, 34), h("span", null, top.word), top.marks.map((m) => h("span.tag", null, m)),
      D.offline ? h("span.tag", null, "offline") : null),
    top.lede ? h("p.lede", null, visible(top.lede)) : null,
    top.decision ? h("p.stamp", null, top.decision) : null,
    top.more ? h("p.stamp", null, h("b", null, top.more)) : null,
    D.thresholds.map((row) => h("p.stamp", null, told(row.result === "pass" ? "p" : "f", row.threshold + ": " + row.why))));
  return [
    h("div.hero", null, left, h("div", null, rates(), proof())),
    D.facts.length ? h("dl.facts", null, D.facts.map(([a, b, c]) => h("div", null, h("dt", null, a), h("dd", null, b, h("small", null, c))))) : null,
    h("div.models", null, D.models.map(([role, name]) => h("span", null, h("b", null, role), h("code", null, name)))),
    D.offline ? h("p.warn", null, glyph("v"), "offline (rule-based): shows the wiring, the checks and the proof, not how a real model behaves.") : null,
    D.hidden ? h("p.warn", null, glyph("v"), D.hidden) : null,
    D.warnings.map(([tone, text]) => h("p.warn", null, glyph(tone), h("span", null, visible(text)))),
  ];
}

function rates() {
  if (!D.arms.length) return null;
  const first = D.arms[0].rate;
  const of = plural(first.scenarios, "scenario") + ", " + plural(first.simulations, "simulation") + ", " + plural(first.trials, "trial");
  const draw = (w) => {
    const L = 92, R = 104, H = 24 + D.arms.length * 52;
    const X = (x) => L + x * (w - L - R);
    const g = s("svg", {width: w, height: H});
    for (let i = 0; i <= 4; i++) g.append(line(X(i / 4), 0, X(i / 4), H - 20), label(X(i / 4), H - 4, i * 25 + (i === 4 ? "%" : ""), {at: "middle", size: 11}));
    D.arms.forEach((arm, i) => {
      const y = 26 + i * 52, a = arm.rate, color = "var(--" + (TONE[arm.tone] || "soft") + ")";
      g.append(label(0, y + 4, arm.label, {size: 13, fill: "var(--ink)"}),
        line(X(a.low), y, X(a.high), y, {color, width: 6, cap: "round"}),
        s("circle", {cx: X(a.rate), cy: y, r: 8, fill: color, stroke: "var(--bg)", "stroke-width": 2.5}),
        label(w, y + 1, percent(a.rate), {at: "end", size: 24, weight: 650, fill: "var(--ink)"}),
        label(w, y + 17, interval(a), {at: "end"}));
    });
    return g;
  };
  const inWords = D.arms.map((a) => a.label + " " + a.rate.passed + " of " + a.rate.trials + ", " + percent(a.rate.rate) + " " + interval(a.rate)).join("; ");
  return [h("p.cap", null, D.arms_of + " (" + of + ")"), chart(draw, inWords)];
}

function proof() {
  const p = D.proof;
  if (!p) return null;
  const cells = [
    ["Difference", points(p.difference) + " points", "[" + points(p.low) + ", " + points(p.high) + "]"],
    ["Better", p.better + " of " + p.scenarios, "held-out scenarios"],
    ["Worse", p.worse + " of " + p.scenarios, p.worse ? (p.worse_confirmed ? "confirmed" : "not when run again") : "none"],
    ["p, sign-flip", p.told[0], "at most " + p.told[1] + ", look " + p.look],
  ];
  return h("dl.pair", null, cells.map(([a, b, c]) => h("div", null, h("dt", null, a), h("dd", null, b, h("small", null, c)))));
}

// ---- rounds

function rounds() {
  const drawn = D.rounds.filter((r) => r.train || r.held_out);
  const draw = (w) => {
    const H = 262, L = 34, R = 84, T = 26, B = 40, n = drawn.length;
    const X = (i) => (n === 1 ? w / 2 : L + 26 + (i * (w - L - R - 26)) / (n - 1));
    const Y = (v) => T + (1 - v) * (H - T - B);
    const g = s("svg", {width: w, height: H});
    for (let i = 0; i <= 4; i++) g.append(line(L, Y(i / 4), w - R + 30, Y(i / 4)), label(L - 8, Y(i / 4) + 4, String(i * 25), {at: "end", size: 11}));
    drawn.forEach((r, i) => g.append(label(X(i), H - 20, r.label, {at: "middle", fill: "var(--ink)"}), label(X(i), H - 5, r.version, {at: "middle", size: 11})));
    for (const [key, name, color, shift, dash] of [["train", "train", "var(--soft)", -5, null], ["held_out", "held-out", "var(--ink)", 5, "4 4"]]) {
      const at = drawn.map((r, i) => r[key] && [X(i) + shift, r[key]]).filter(Boolean);
      if (!at.length) continue;
      g.append(s("polyline", {points: at.map(([x, a]) => x + "," + Y(a.rate)).join(" "), fill: "none", stroke: color, "stroke-width": 2, "stroke-dasharray": dash}));
      for (const [x, a] of at) {
        g.append(line(x, Y(a.low), x, Y(a.high), {color, width: 1.5}), line(x - 4, Y(a.low), x + 4, Y(a.low), {color, width: 1.5}), line(x - 4, Y(a.high), x + 4, Y(a.high), {color, width: 1.5}));
        g.append(dash ? s("rect", {x: x - 5, y: Y(a.rate) - 5, width: 10, height: 10, fill: color, stroke: "var(--bg)", "stroke-width": 2})
          : s("circle", {cx: x, cy: Y(a.rate), r: 5, fill: color, stroke: "var(--bg)", "stroke-width": 2}));
      }
      const [x, a] = at[at.length - 1];
      g.append(label(x + (dash ? 11 : 0), dash ? Y(a.rate) + 4 : Y(a.high) - 8, name, {fill: color, weight: 600, at: dash ? "start" : "middle"}));
    }
    return g;
  };
  const side = (a) => (a ? [h("b", null, percent(a.rate)), h("div.xs.soft.nw", null, a.passed + " of " + a.trials + " " + interval(a))] : h("span.soft", null, "not run"));
  const columns = [["Round", ""], ["Train", ""], ["Held-out", ""], ["Left out", ".num.hide"], ["Cost", ".num.hide"], ["Outcome", ""]];
  const rows = D.rounds.map((r) => h("tr", null,
    h("td", null, h("b", null, r.label), h("div.xs.soft", null, r.version)),
    h("td", null, side(r.train)), h("td", null, side(r.held_out)),
    h("td.num.hide", null, String(r.left_out)), h("td.num.hide", null, r.train || r.held_out ? money(r.cost_usd) : ""),
    h("td", null, r.decision, r.why ? h("div.xs.soft", null, visible(r.why)) : null)));
  return h("div.two", null,
    h("div", null, h("p.cap", null, "Pass rate in %, with 95% intervals"), chart(draw, "Pass rate by round; the figures stand in the table")),
    h("div.scroll", null, h("table", null, h("thead", null, h("tr", null, columns.map(([t, c]) => h("th" + c, {scope: "col"}, t)))), h("tbody", null, rows)),
      h("p.xs.soft", null, h("br"), "Left out: trials that ended in an error or whose case is invalid. They count in no rate. Intervals treat the trials of one scenario as one group.")));
}

// ---- cases: scenarios down, personas across; a cell filters the conversations

function newestRound(simulation) {
  for (let i = D.rounds.length - 1; i >= 0; i--) {
    if (D.results[D.rounds[i].id]?.[simulation]) return D.rounds[i].id;
  }
  return null;
}

function cases() {
  const box = h("div");
  const several = D.rounds.length > 1;
  let at = several ? "newest" : D.rounds[0].id;
  const letters = (simulation) => {
    const round = at === "newest" ? newestRound(simulation) : at;
    return round && D.results[round]?.[simulation];
  };
  const paint = () => {
    const many = D.personas.length > MANY_PERSONAS;
    box.replaceChildren(many ? collapsed(letters) : table(letters, at, paint));
  };
  paint();
  box.addEventListener("keydown", arrows);
  const options = [["newest", "Newest"], ...D.rounds.filter((r) => Object.keys(D.results[r.id] || {}).length).map((r) => [r.id, r.label])];
  const key = [["p", "every trial passes"], ["m", "some pass"], ["f", "none passes"], ["i", "inconclusive"], ["e", "error: not the agent's fault"], ["v", "invalid: the case is wrong"]];
  return [several ? h("div.filters", null, segment(options, at, (v) => { at = v; paint(); }, "Round")) : null, box,
    h("div.key", null, key.map(([v, t]) => h("span.v", null, glyph(v, 12), t)), several ? h("span", null, "\u25bc worse than the base") : null)];
}

function groupsOf() {
  const split = (name) => D.scenarios.filter((x) => x.split === name);
  const train = split("train"), heldOut = split("held_out");
  return [["Train: " + plural(train.length, "scenario") + "." + (D.kind === "hardening" && D.rounds.length > 1 ? " Their failures were shown to the writer." : ""), train],
    ["Held-out: " + plural(heldOut.length, "scenario") + "." + (D.kind === "hardening" ? " Nobody tuned to them." : ""), heldOut]].filter(([, rows]) => rows.length);
}

function table(letters, at, paint) {
  const row = (scenario) => h("tr", null,
    h("th.sc", {scope: "row", title: scenario.goal}, scenario.title, scenario.tags.includes("must-refuse") ? [" ", h("span.tag", null, "must refuse")] : null),
    D.personas.map((persona) => h("td", null, (same.get(scenario.id + "/" + persona.id) || [null]).map((simulation) => cell(simulation, letters, at, paint)))));
  return h("table.map", null,
    h("thead", null, h("tr", null, h("th.sc0", null, "Scenario"), D.personas.map((p) => h("th.p", {scope: "col", title: p.about}, p.name)))),
    h("tbody", null, groupsOf().map(([text, rows]) => [h("tr.grp", null, h("th", {colspan: D.personas.length + 1}, text)), rows.map(row)])));
}

function cell(simulation, letters, at, paint) {
  const now = simulation && letters(simulation), state = stateOf(now);
  if (state === "n") return h("div.cell.n", {title: simulation ? "not run in this round" : "no such case"}, "\u2013");
  const base = D.results[D.rounds[0].id][simulation];
  const share = (o) => (o && counted(o) ? passes(o) / counted(o) : null);
  const before = share(base), after = share(now);
  const worse = at !== D.rounds[0].id && before !== null && after !== null && after < before;
  const [title, who] = namesOf(simulation);
  const what = counted(now) ? passes(now) + " of " + counted(now) + " trials passed" : WORD[state];
  const style = {v: "v0", i: "i0"}[state] || state;
  return button("button.cell." + style, [glyph(state, 13), h("span", null, counted(now) ? passes(now) + "/" + counted(now) : WORD[state]), worse ? h("span.mv", {"aria-hidden": "true"}, "\u25bc") : null],
    () => { filter.simulation = filter.simulation === simulation ? null : simulation; paint(); narrowed(); },
    {"data-simulation": simulation, "aria-pressed": String(filter.simulation === simulation), title: title + ", " + who + ": " + [...now].map((x) => WORD[x]).join(", "),
      "aria-label": title + ", " + who + ": " + what + (worse ? ", worse than the base" : "")});
}

// With many personas a row says how many of its cases pass, and names those that do not.
function collapsed(letters) {
  const row = (scenario) => {
    const all = Object.keys(D.simulations).filter((k) => D.simulations[k][0] === scenario.id && letters(k));
    const rest = all.filter((k) => stateOf(letters(k)) !== "p");
    const chips = rest.slice(0, ROWS).map((k) => button("button.tool", [glyph(stateOf(letters(k)), 12), " ", namesOf(k)[1]],
      () => { filter.simulation = k; narrowed(); }));
    return h("tr", null, h("th.sc", {scope: "row", title: scenario.goal}, scenario.title), h("td.nw", null, all.length - rest.length + " of " + all.length + " pass"),
      h("td", null, h("div.chips", null, chips, rest.length > ROWS ? "and " + (rest.length - ROWS) + " more" : null)));
  };
  return h("div.scroll", null, h("table.many", null, h("thead", null, h("tr", null, ["Scenario", "Cases", "Not passed"].map((t) => h("th", {scope: "col"}, t)))),
    h("tbody", null, groupsOf().map(([text, rows]) => [h("tr.grp", null, h("th", {colspan: 3}, text)), rows.map(row)]))));
}

function arrows(event) {
  const step = {ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1]}[event.key];
  if (!step || !event.target.matches(".cell")) return;
  event.preventDefault();
  const beside = step[1] > 0 ? event.target.nextElementSibling : step[1] < 0 ? event.target.previousElementSibling : null;
  if (beside) return beside.focus();
  const td = event.target.closest("td"), rows = [...event.currentTarget.querySelectorAll("tbody tr:not(.grp)")];
  const to = rows[rows.indexOf(td.parentNode) + step[1]]?.children[[...td.parentNode.children].indexOf(td) + step[0]];
  to?.querySelector(".cell")?.focus();
}

function segment(options, at, pick, name) {
  const element = h("div.seg", {role: "group", "aria-label": name});
  const draw = () => element.replaceChildren(...options.map(([v, t]) => button("button", t, () => { at = v; draw(); pick(v); }, {"aria-pressed": String(v === at)})));
  draw();
  return element;
}

// ---- causes

function causes() {
  if (!D.clusters.length) return noCauses();
  const most = Math.max(1, ...D.clusters.map((c) => c.simulations));
  return D.clusters.map((c) => {
    const bars = [["base", c.simulations, "var(--soft)"], ...(c.newest === null || c.newest === undefined ? [] : [["newest", c.newest, "var(--fail)"]])];
    const draw = (w) => {
      const g = s("svg", {width: w, height: 10 + bars.length * 26}), W = (v) => Math.max(v ? 3 : 0, (v / most) * (w - 86));
      bars.forEach(([t, v, fill], i) => g.append(label(0, 18 + i * 26, t), s("rect", {x: 52, y: 7 + i * 26, width: W(v), height: 14, rx: 2, fill, opacity: i ? 1 : 0.55}), label(58 + W(v), 18 + i * 26, String(v), {fill: "var(--ink)", weight: 600, size: 13})));
      return g;
    };
    const where = plural(c.trials, "trial") + " in " + plural(c.scenarios, "scenario") + (c.held_out ? ", and " + plural(c.held_out, "held-out simulation") : "");
    return h("div.cause", null,
      h("div", null, h("h3", null, visible(c.name || c.cause || c.check)),
        h("p.meta", null, h("span.tag" + (c.severity === "critical" ? ".crit" : ""), null, c.severity), h("span", null, where), h("code", null, c.check),
          button("button.link.screen", "show conversations", () => { filter.cause = c.id; narrowed(); })),
        c.quote ? quote(c.quote) : null),
      chart(draw, bars.map(([t, v]) => t + " " + plural(v, "simulation")).join(", ")));
  });
}

function noCauses() {
  if (D.kind === "hardening" && !Object.keys(D.results[D.rounds[0].id]).some((name) => scenarioOf(name).split === "train")) return empty("No causes", "There are no train trials of the base here: the run that held them was deleted.");
  const seen = new Set(Object.values(D.results).flatMap((round) => [...Object.values(round).join("")]));
  if (!["p", "f", "i"].some((x) => seen.has(x))) return empty("No trial counts", "They ended in an error or their case is invalid: that says nothing of the agent.");
  if (seen.has("f")) return empty("No cause to show", "What fails is in held-out scenarios only: it confirms, and is not grouped.");
  if (seen.has("i")) return empty("No failures", "No check failed. Trials that are inconclusive stand in the conversations.");
  return empty("No failures", "Every check passed in every trial that counts. Harder scenarios may tell more: generate_scenarios with kind \"edge\".");
}

function quote(q) {
  const talk = conversations.get(q.conversation);
  return h("div.quote", null, q.text ? quoted("q", q.text) : null,
    h("div.xs", null, q.calls.length ? ["calls ", h("code", null, visible(q.calls.join(", "))), " \u00b7 "] : null,
      h("a.link", {href: "#" + q.conversation + "@" + q.turn}, "turn " + q.turn + (talk ? ", " + namesOf(talk.simulation).join(", ") : ""))));
}

// ---- changes

function changes() {
  const of = (kind) => D.flips.filter((f) => f.kind === kind);
  const telling = D.flips.filter((f) => f.kind === "broken" || f.kind === "flaky");
  const name = (kind) => kind.replace("_", " ");
  const bars = KINDS.filter(([kind]) => of(kind).length).map(([kind]) => {
    const element = button("button." + kind, null, () => { filter.kind = kind; narrowed(); },
      {title: plural(of(kind).length, "simulation") + " " + name(kind), "aria-label": of(kind).length + " " + name(kind)});
    element.style.setProperty("flex", of(kind).length + " 1 0");
    return element;
  });
  const letters = (o) => h("span.v", null, [...o].map((x) => glyph(x, 13)));
  const rows = telling.map((f) => h("tr", null, h("td", null, namesOf(f.simulation)[0]), h("td", null, namesOf(f.simulation)[1]), h("td", null, letters(f.base)), h("td", null, letters(f.newest)), h("td.soft.hide", null, scenarioOf(f.simulation).split.replace("_", "-"))));
  return [h("div.flow", null, bars),
    h("div.key", null, KINDS.map(([kind, text]) => h("span", null, h("i.sw." + kind), h("b", null, of(kind).length + " " + name(kind)), " " + text))),
    telling.length ? h("div.scroll", null, h("br"), h("table", null, h("thead", null, h("tr", null, ["Broken and flaky", "Persona", "Base", "Newest"].map((t) => h("th", {scope: "col"}, t)), h("th.hide", {scope: "col"}, "Split"))), h("tbody", null, rows))) : null];
}

// ---- instructions

function instructions() {
  if (!D.diffs.length) return empty("One version so far", "The difference appears when a candidate was proposed and not refused.");
  const box = h("div.diff", {tabindex: 0, "aria-label": "Difference of the instructions"});
  const paint = (i) => box.replaceChildren(...D.diffs[i].parts.map(([op, text]) => (op === " " ? quoted("span", text) : quoted(op === "+" ? "ins" : "del", text))));
  paint(0);
  const sizes = D.versions.map((v) => v.label + " " + v.chars.toLocaleString("en-US") + " characters").join(" \u00b7 ");
  const notes = D.versions.filter((v) => v.by).map((v) => h("div.s", null,
    h("p", null, h("b", null, v.label[0].toUpperCase() + v.label.slice(1) + ". "), visible(v.why)),
    h("p.soft.xs", null, v.cause ? "Aimed at: " + visible(v.cause) + ". " : "", "By " + v.by + "."), h("br")));
  const guards = D.guards.map((g) => h("li.warn", null, glyph(g.result === "pass" ? "p" : "f"), g.guard.replace(/_/g, " ") + (g.rule && g.result !== "pass" ? ": " + g.rule : "")));
  return [h("div.filters", null, D.diffs.length > 1 ? segment(D.diffs.map((d, i) => [i, d.label]), 0, paint, "Versions") : h("span.s", null, D.diffs[0].label), h("span.xs.soft", null, sizes)),
    h("div.two", null, box, h("div", null, notes, guards.length ? [h("p.cap", null, "Guards, checked before any simulation was spent"), h("ul", null, guards)] : null))];
}

// ---- conversations: one row a trial, its texts side by side

let index; // the words of each conversation, made at the first search

function words(talk) {
  index ||= new Map();
  if (!index.has(talk.id)) index.set(talk.id, wordsIn(talk).join("\n").toLowerCase());
  return index.get(talk.id);
}

const wordsIn = (value) => (value && typeof value === "object" ? Object.values(value).flatMap(wordsIn) : [String(value)]);

function matches(talk) {
  const cause = filter.cause && D.clusters.find((c) => c.id === filter.cause);
  return (!filter.simulation || talk.simulation === filter.simulation) && (!cause || cause.members.includes(talk.simulation)) &&
    (!filter.kind || D.flips.find((f) => f.simulation === talk.simulation)?.kind === filter.kind) && (!filter.text || words(talk).includes(filter.text));
}

let limit = ROWS;

function list(more) {
  const box = $("rows");
  if (!box) return;
  limit = more ? limit + STEP : ROWS;
  const groups = new Map();
  for (const talk of D.conversations) {
    if (!matches(talk)) continue;
    const key = talk.simulation + "/" + talk.trial;
    groups.has(key) ? groups.get(key).push(talk) : groups.set(key, [talk]);
  }
  const cause = filter.cause && D.clusters.find((c) => c.id === filter.cause);
  const failsIt = (g) => !cause || g.some((talk) => talk.checks.some((c) => c.id === cause.check && c.verdict === "f"));
  const rank = (g) => { const last = g[g.length - 1]; return g.length > 1 && g[0].verdict === "p" && last.verdict !== "p" ? 0 : last.verdict !== "p" ? 1 : 2; };
  const sorted = [...groups.values()].filter(failsIt).sort((a, b) => rank(a) - rank(b));
  shown = sorted.map(telling);
  const chips = [["simulation", filter.simulation && namesOf(filter.simulation).join(", ")], ["cause", cause && cause.cause], ["kind", filter.kind && filter.kind.replace("_", " ")]];
  $("chips").replaceChildren(...chips.filter(([, text]) => text).map(([key, text]) => button("button.tool", [visible(text), " \u2715", h("span.sr", null, " remove filter")], () => {
    filter[key] = null;
    document.querySelectorAll(".cell[aria-pressed=true]").forEach((e) => e.setAttribute("aria-pressed", String(e.dataset.simulation === filter.simulation)));
    list();
  })));
  $("count").textContent = plural(shown.length, "trial") + (D.left_out ? ", " + plural(D.left_out, "conversation") + " not in this file" : "");
  const rows = sorted.slice(0, limit).map(rowOf);
  const rest = sorted.length - rows.length;
  box.replaceChildren(...(rows.length ? rows : [nothing()]), rest > 0 ? h("p.s.soft", null, h("br"), "and " + rest.toLocaleString("en-US") + " more", h("span.screen", null, ". Narrow with a filter or a word, or ", button("button.link", "show more", () => list(true)), ".")) : "");
}

// After a filter was set: the list, with the keys in it.
function narrowed() {
  list();
  $("conversations").scrollIntoView();
  $("rows").querySelector(".row")?.focus({preventScroll: true});
}

// Of the texts of a trial the one to open first: the newest that does not pass, else the base.
const telling = (group) => (group[group.length - 1].verdict === "p" ? group[0] : group[group.length - 1]);

function rowOf(group) {
  const talk = telling(group), [title, who] = namesOf(talk.simulation);
  const failed = "ev".includes(talk.verdict) ? null : talk.checks.find((c) => c.counts && c.verdict === "f");
  const why = failed ? " fails " + failed.id + (failed.turn ? " at turn " + failed.turn : "") : talk.verdict === "p" ? " passes all checks" : ": " + (talk.why || "ended " + talk.end);
  return button("button.row", [h("span.v", null, group.map((x, i) => [i ? h("span.soft", null, "\u2192") : null, glyph(x.verdict)])), h("span", null, title), h("span", null, who),
    h("span.soft.hide", null, scenarioOf(talk.simulation).split.replace("_", "-")), h("span.soft.why.hide", null, talk.version + visible(why)), h("span.soft.num.hide", null, plural(lastTurn(talk), "turn"))], () => open(talk.id));
}

const lastTurn = (talk) => (talk.parts.length ? talk.parts[talk.parts.length - 1].turn : 0);

function nothing() {
  if (filter.simulation && ![...conversations.values()].some((c) => c.simulation === filter.simulation)) {
    return empty("Not in this file, to keep it small.", "get_item with kind \"conversation\" has it.");
  }
  return empty("No conversation here", D.conversations.length ? "No conversation matches. Remove a filter." : "Conversations appear after the first run.");
}

function conversationsPart() {
  let wait;
  const typed = (event) => { clearTimeout(wait); wait = setTimeout(() => { filter.text = event.target.value.toLowerCase(); list(); }, 120); };
  return [h("div.filters", null, h("input", {type: "search", id: "q", placeholder: "Search words, tools, values   /", "aria-label": "Search conversations", oninput: typed}),
    h("span", {id: "chips"}), h("span.xs.soft", {id: "count", "aria-live": "polite"})), h("div.rows", {id: "rows"})];
}

// ---- one conversation, over the page, at the turn that decided it

function open(id, turn) {
  const talk = conversations.get(id);
  if (!talk) return missing(id);
  const dialog = $("dlg"), [title, who] = namesOf(talk.simulation), scenario = scenarioOf(talk.simulation);
  const twins = D.conversations.filter((x) => x.simulation === talk.simulation && x.trial === talk.trial);
  const at = shown.findIndex((x) => x.simulation === talk.simulation && x.trial === talk.trial);
  const go = (step) => shown[at + step] && open(shown[at + step].id);
  const facts = [twins.length > 1 ? segment(twins.map((x) => [x.id, x.version + ": " + WORD[x.verdict]]), talk.id, (v) => open(v), "Version") : told(talk.verdict),
    h("span", null, "trial " + talk.trial + ", seed " + talk.seed),
    talk.differs_at ? button("button.link", "the versions differ from turn " + talk.differs_at, () => jump(talk.differs_at)) : null,
    h("span", null, "ended: " + talk.end), h("span", null, talk.wall_s.toFixed(1) + " s"), h("span", null, talk.tokens.toLocaleString("en-US") + " tokens"), h("span", null, talk.cost_usd === null ? "cost unknown" : money(talk.cost_usd))];
  dialog.replaceChildren(h("div.dlg", null,
    h("div.dh", null, h("div.r1", null, glyph(talk.verdict, 20), h("h2", {id: "dlg-title", tabindex: -1}, title + ", " + who),
      button("button.tool.hide", ["Previous ", h("kbd", null, "k")], () => go(-1), {disabled: at < 1}), button("button.tool.hide", ["Next ", h("kbd", null, "j")], () => go(1), {disabled: at + 1 >= shown.length}),
      button("button.tool", ["Close ", h("kbd", null, "Esc")], () => dialog.close())), h("div.r2", null, facts)),
    h("div.db", null, h("div.talk", {tabindex: 0, "aria-label": "Conversation"}, talk.why ? h("p.note.i", null, glyph(talk.verdict === "p" ? "p" : talk.verdict), quoted("span", talk.why)) : null, turns(talk)),
      h("aside.side", {"aria-label": "Checks"}, sideOf(talk, scenario)))));
  if (!dialog.open) dialog.showModal();
  $("dlg-title").focus();
  const failed = talk.checks.find((c) => c.counts && c.verdict === "f"), to = turn || (failed && failed.turn);
  history.replaceState(null, "", "#" + id + (turn ? "@" + turn : ""));
  if (to) jump(to);
}

function missing(id) {
  const dialog = $("dlg");
  dialog.replaceChildren(h("div.dlg", null,
    h("div.dh", null, h("div.r1", null, h("h2", {id: "dlg-title", tabindex: -1}, "Not in this file"), button("button.tool", ["Close ", h("kbd", null, "Esc")], () => dialog.close()))),
    empty(visible(id), D.hidden || (D.left_out ? "Some conversations were left out to keep the file small: " : "") + "get_item with kind \"conversation\" has what is not here.")));
  if (!dialog.open) dialog.showModal();
  $("dlg-title").focus();
}

function jump(turn) {
  const dialog = $("dlg"), element = dialog.querySelector("[data-turn=\"" + turn + "\"]");
  if (!element) return;
  dialog.querySelectorAll(".hit").forEach((x) => x.classList.remove("hit"));
  dialog.querySelectorAll("[data-turn=\"" + turn + "\"]").forEach((x) => x.classList.add("hit"));
  element.scrollIntoView({block: "start"});
}

function sideOf(talk, scenario) {
  const passed = talk.checks.filter((c) => c.verdict === "p").length;
  const row = (c) => button("button.chk", [glyph(c.verdict), h("span", null, h("b", null, c.id), c.text ? [" ", visible(c.text)] : null, c.counts ? null : [" ", h("span.tag", null, "does not count")],
    h("span.xs.soft", null, h("br"), visible(c.why) + (c.turn ? " \u00b7 turn " + c.turn : "") + " \u00b7 by " + c.by))], () => c.turn && jump(c.turn));
  const persona = personas[D.simulations[talk.simulation][1]];
  return [h("h3", null, "Checks, " + passed + " of " + talk.checks.length + " pass"), talk.checks.map(row),
    h("h3", null, "World changed by this conversation"), talk.changes.length ? h("div.s", null, talk.changes.map((path) => h("p.mono.xs", null, visible(path)))) : h("p.s.soft", null, "Nothing."),
    h("h3", null, "Case"), quoted("p.s", scenario.goal), persona.about ? h("p.s.soft", null, persona.name + ": " + visible(persona.about)) : null, h("p.s.soft", null, scenario.split.replace("_", "-") + " \u00b7 " + talk.id)];
}

function turns(talk) {
  const noted = new Set();
  return talk.parts.map((part, i) => {
    const last = !talk.parts.slice(i + 1).some((x) => x.turn === part.turn && x.by === "agent");
    const notes = (part.by === "agent" || last) && !noted.has(part.turn) && last ? talk.checks.filter((c) => c.turn === part.turn && c.verdict !== "p") : [];
    if (notes.length) noted.add(part.turn);
    return part.by === "world" ? happened(part) : said(part, talk, notes);
  });
}

function happened(part) {
  return h("div.ev", {"data-turn": part.turn}, part.text ? quoted("p", "at " + part.t + " s: " + part.text) : null, part.calls.map((call) => (call.tool ? callView(call, false) : changesOf(call))));
}

function said(part, talk, notes) {
  const decided = notes.some((c) => c.counts);
  return h("article.turn." + part.by, {"data-turn": part.turn}, h("div.n", null, String(part.turn)),
    h("div", null, h("p.who", null, h("b", null, part.by === "user" ? personas[D.simulations[talk.simulation][1]].name : "Agent"), " \u00b7 " + part.t + " s", part.rejected ? [" ", h("span.tag", null, "rejected")] : null),
      part.calls.map((call) => callView(call, decided && (call.injected || !call.ok || call.changes.length > 0))),
      part.text ? quoted("p.say", part.text) : null,
      notes.map((c) => h("p.note." + (c.verdict === "f" ? "f" : "i"), null, glyph(c.verdict), h("span", null, h("b", null, c.id + " "), visible((c.text ? c.text + ": " : "") + c.why) + (c.by === "judge" ? " (judge)" : ""))))));
}

function callView(call, unfolded) {
  const args = call.args && typeof call.args === "object" && !Array.isArray(call.args) ? Object.entries(call.args).map(([k, v]) => k + ": " + compact(v)).join(", ") : compact(call.args ?? "");
  return h("details.call", {open: Boolean(unfolded)},
    h("summary", null, h("code.sig", null, visible((call.by ? call.by + ": " : "") + call.tool + "(" + args + ")")),
      call.injected ? h("span.tag.fault", null, "injected " + call.injected) : call.ok ? null : h("span.tag.fault", null, "error"),
      h("span.xs.soft", null, call.changes.length ? plural(call.changes.length, "change") : "no change")),
    quoted("pre", "arguments  " + flat(call.args ?? {}) + "\nresult     " + flat(call.result ?? null)), call.changes.length ? changesOf(call) : null);
}

function changesOf(call) {
  const side = (tag, values) => (values.length ? quoted(tag, compact(values[0])) : h("span.soft", null, "nothing"));
  return h("div.wd", null, call.changes.map(([path, old, now]) => h("div", null, visible(path) + "  ", side("del", old), " \u2192 ", side("ins", now))));
}

// ---- the page

function manifest() {
  return h("dl.man", null, D.manifest.flatMap(([name, value]) => [h("dt", null, name), h("dd", null, visible(value))]));
}

function sections() {
  const equal = D.rounds.every((r) => Object.values(D.results[r.id] || {}).every((letters) => letters.length === D.trials));
  const many = (equal ? "" : "up to ") + plural(D.trials, "trial") + " each. Choose a cell to see its conversations.";
  const all = [
    ["rounds", "Rounds", "", rounds, D.rounds.length > 1],
    ["cases", "Cases", "Scenario by persona, " + many, cases, true],
    ["causes", "Causes", "Failures grouped by the check that failed, worst first.", causes, true],
    ["changes", "Changes", "The same simulations and seeds under the base and under the newest text that was run on them.", changes, D.flips.length > 0],
    ["instructions", "Instructions", "", instructions, D.kind === "hardening"],
    ["conversations", "Conversations", "", conversationsPart, true],
    ["manifest", "Manifest", "What is needed to run this again.", manifest, true],
  ];
  const ran = Object.keys(D.simulations).length > 0;
  return all.filter(([id, , , , there]) => there && (ran || id === "manifest"));
}

function draw() {
  $("brand").append(s("svg", {width: 20, height: 20, viewBox: "0 0 20 20", "aria-hidden": "true"}, s("path", {d: "M10 1l8 4.5v9L10 19l-8-4.5v-9z", fill: "var(--ink)"}), s("path", {d: "M10 6l3.6 2v4L10 14l-3.6-2V8z", fill: "var(--bg)"})), "caseharden");
  const parts = sections();
  $("nav").append(...parts.map(([id, title]) => h("a", {href: "#" + id}, title)));
  $("top").append(...head().flat(3).filter(Boolean), D.head.next ? empty("Next", D.head.next) : "",
    ...parts.map(([id, title, sub, f]) => h("section", {id, "aria-labelledby": id + "-h"}, h("div.head", null, h("h2", {id: id + "-h"}, title), sub ? h("p", null, sub) : null), f())),
    h("footer", null, h("span.screen", null, "Keys: / search, arrow keys in the table of cases, j and k next and previous conversation, t theme, Esc close. "),
      "This file makes no request; what agents, users and tools said stands in it as text."));
  list();
  document.title = (D.environment_name || D.environment) + ", " + D.source + ": " + D.head.word;
}

const THEMES = ["system", "light", "dark"];
const night = matchMedia("(prefers-color-scheme: dark)");
let theme = 0;

function setTheme(number) {
  theme = number % THEMES.length;
  const shown = theme ? THEMES[theme] : night.matches ? "dark" : "light";
  document.documentElement.setAttribute("data-theme", shown);
  $("theme").textContent = "Theme: " + THEMES[theme];
}

// A deep link is the id that the tools print: #run-12/SIMULATION/TRIAL@TURN
function route() {
  let hash = location.hash.slice(1);
  try { hash = decodeURIComponent(hash); } catch { return; }
  const [id, turn] = hash.split("@");
  if (id.includes("/")) open(id, Number(turn) || null);
}

function keys(event) {
  if (event.target.matches("input") || event.ctrlKey || event.metaKey || event.altKey) return;
  const dialog = $("dlg"), at = shown.findIndex((c) => c.id === location.hash.slice(1).split("@")[0]);
  const twin = at >= 0 ? at : shown.findIndex((c) => { const now = conversations.get(location.hash.slice(1).split("@")[0]); return now && c.simulation === now.simulation && c.trial === now.trial; });
  if (dialog.open && (event.key === "j" || event.key === "k")) {
    const next = shown[twin + (event.key === "j" ? 1 : -1)];
    if (next) open(next.id);
  } else if (!dialog.open && event.key === "/") {
    event.preventDefault();
    $("q")?.focus();
  } else if (event.key === "t") setTheme(theme + 1);
}

async function read() {
  const element = $("data");
  if (element.type === "application/json") return JSON.parse(element.textContent);
  const bytes = Uint8Array.from(atob(element.textContent.trim()), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

setTheme(0);
night.addEventListener("change", () => setTheme(theme));
read().then((report) => {
  D = report;
  scenarios = Object.fromEntries(D.scenarios.map((x) => [x.id, x]));
  personas = Object.fromEntries(D.personas.map((x) => [x.id, x]));
  conversations = new Map(D.conversations.map((x) => [x.id, x]));
  same = new Map();
  for (const slug of Object.keys(D.simulations)) same.set(pairOf(slug), [...(same.get(pairOf(slug)) || []), slug]);
  draw();
  redraw();
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraw(); } });
  addEventListener("beforeprint", redraw);
  $("theme").addEventListener("click", () => setTheme(theme + 1));
  $("print").addEventListener("click", () => print());
  $("dlg").addEventListener("close", () => history.replaceState(null, "", "#conversations"));
  addEventListener("hashchange", route);
  addEventListener("keydown", keys);
  route();
  document.documentElement.dataset.ready = "true";
});
