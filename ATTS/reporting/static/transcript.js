"use strict";
// One sample chunk by chunk, or two beside each other.
(() => {
  const { make, data, words, symbols } = ATTS;
  const at = (id) => document.getElementById(id);
  const DELIMITERS = [
    { left: "$$", right: "$$", display: true }, { left: "\\[", right: "\\]", display: true },
    { left: "\\(", right: "\\)", display: false }, { left: "$", right: "$", display: false },
  ];
  const LONGEST = 20000; // characters of a text that is typeset; longer ones stay as they are

  // Mathematics as MathML, which needs no fonts or styles; what is none stays as it was written.
  function typeset(element) {
    if (element.textContent.length > LONGEST) return;
    const before = element.textContent;
    try {
      renderMathInElement(element, {
        delimiters: DELIMITERS, output: "mathml", throwOnError: true, trust: false, strict: "ignore", maxExpand: 200, maxSize: 20,
        errorCallback: () => {},
      });
    } catch { element.textContent = before; }
  }

  const number = (value, digits = 2) => (value == null ? "-" : Number(value).toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits }));
  const seconds = (value) => `${number(value)} s`;

  // The percentile from which a chunk was rejected, where it was the percentile that decided.
  const threshold = (score, run) => (run.rate != null && score.level == null && score.p == null ? 100 * (1 - run.rate) : null);

  function decision(score, run) {
    const parts = [`${score.name} ${score.v == null ? "not finite" : number(score.v, 3)}`];
    if (score.pc != null) {
      const rejects = threshold(score, run);
      parts.push(`percentile ${number(100 * score.pc, 1)}${rejects == null ? "" : ` (rejected from ${number(rejects, 1)})`}`);
    }
    if (score.p != null) parts.push(`p-value ${number(score.p, 3)}`);
    if (score.level != null) parts.push(`level ${number(score.level, 3)}`);
    if (score.sec != null) parts.push(`scored in ${seconds(score.sec)}`);
    return parts.join(", ");
  }

  // A share of 100 with the threshold, as a bar that needs no colours.
  function meter(score, run) {
    if (score.pc == null) return "";
    const attributes = { min: 0, max: 100, value: 100 * score.pc, title: `percentile ${number(100 * score.pc, 1)} of the calibration scores` };
    if (threshold(score, run) != null) attributes.high = threshold(score, run);
    return make("meter", attributes);
  }

  function chunk(one, place, side, run, values) {
    const who = one.by === "draft" ? "draft" : one.by === "target" ? "target" : one.kind || "score";
    const head = make("p", { class: "head" },
      make("a", { href: ATTS.link({ ...values, c: `${side}.${place}` }), title: "Link to this chunk" }, `#${place + 1}`),
      make("b", { class: "who" }, who), ` turn ${one.t + 1}`,
      one.n == null ? "" : ` · ${one.n} tokens`, one.sec == null ? "" : ` · ${seconds(one.sec)}`,
      one.q >= 0.005 ? ` · waited ${seconds(one.q)}` : "", one.end ? " · ended the text" : "");
    const parts = [head];
    if (one.x !== undefined) {
      const text = make("div", { class: "text" }, one.x);
      if (at("typeset").checked) typeset(text);
      parts.push(one.gone
        ? make("details", { class: "gone" }, make("summary", { title: "Show the discarded chunk" }, "discarded, not in the text"), text)
        : text);
    }
    if (one.score) {
      const { rej } = one.score;
      parts.push(make("p", { class: `decision ${rej ? "rejected" : "accepted"}` },
        make("b", {}, rej == null ? "scored" : rej ? "✗ rejected" : "✓ accepted"), ` ${decision(one.score, run)} `, meter(one.score, run)));
    }
    return make("article", { class: `chunk ${who} ${one.gone ? "dropped" : ""}`, id: `c${side}.${place}`, tabindex: "-1" }, ...parts);
  }

  function column(sample, state, side, r, s, values) {
    const run = data.runs[r];
    const facts = [`${symbols[state]} ${words[state]}`, `answer ${sample.a == null || sample.a === "invalid" ? "none" : sample.a}`];
    const rest = [sample.s, sample.d == null ? null : seconds(sample.d), sample.why, sample.ahead ? `${sample.ahead} chunks drafted ahead for nothing` : null].filter(Boolean);
    const answer = make("span", { class: "answer" }, facts[1]);
    return make("section", { class: "sample", "aria-label": `Run ${run.letter}, sample ${s + 1}` },
      make("h2", { title: `number ${sample.i} in its folder` }, `${run.letter}  ${run.name}, sample ${s + 1}`),
      make("p", { class: "facts" }, make("span", { class: `cell ${state}` }, symbols[state]), make("b", { class: "state" }, ` ${words[state]} `), answer, ` · ${rest.join(" · ")}`),
      ...sample.c.map((one, place) => chunk(one, place, side, run, values)));
  }

  // All samples in order: of the chosen run, question by question.
  const count = (q, r) => data.questions[q]?.runs[r]?.v.length ?? 0;
  function* from({ q, r, s }, step) {
    for (let question = q, sample = s + step; question >= 0 && question < data.questions.length;) {
      if (sample >= 0 && sample < count(question, r)) { yield { q: question, r, s: sample }; sample += step; continue; }
      question += step;
      sample = step > 0 ? 0 : count(question, r) - 1;
    }
  }

  function current() {
    const given = ATTS.hash();
    const whole = (name, most) => Math.min(Math.max(0, Math.floor(Number(given[name]) || 0)), Math.max(0, most - 1));
    const q = whole("q", data.questions.length);
    const runs = Object.keys(data.questions[q].runs).map(Number);
    const r = runs.includes(Number(given.r)) ? Number(given.r) : runs[0];
    const s = whole("s", count(q, r));
    const beside = /^\d+\.\d+$/.test(given.beside || "") ? given.beside.split(".").map(Number) : null;
    return { q, r, s, beside: beside && beside[1] < count(q, beside[0]) ? beside : null, c: given.c || "" };
  }
  const values = (place) => ({ q: place.q, r: place.r, s: place.s, beside: place.beside ? place.beside.join(".") : "" });
  const go = (place) => { location.hash = ATTS.link(values(place)); };

  function step(by, wanted = () => true) {
    const here = current();
    for (const place of from(here, by)) {
      if (!wanted(data.questions[place.q].runs[place.r].v[place.s])) continue;
      const keep = place.q === here.q ? here.beside : besides(here, place);
      go({ ...place, beside: keep });
      return;
    }
  }
  // The second run stays beside the first when the question changes.
  const besides = (here, place) => (here.beside && count(place.q, here.beside[0]) > place.s ? [here.beside[0], place.s] : null);

  function options(here) {
    if (!at("question").options.length) {
      at("question").append(...data.questions.map((question, i) => make("option", { value: i }, `${i + 1}  ${question.text.slice(0, 50)}`)));
    }
    at("question").value = here.q;
    const samples = Object.entries(data.questions[here.q].runs).flatMap(([r, row]) => [...row.v].map((state, s) => [`${r}.${s}`, `${data.runs[r].letter} ${s + 1} ${symbols[state]}`]));
    at("sample").replaceChildren(...samples.map(([value, text]) => make("option", { value }, text)));
    at("sample").value = `${here.r}.${here.s}`;
    at("beside").replaceChildren(make("option", { value: "" }, "none"), ...samples.map(([value, text]) => make("option", { value }, text)));
    at("beside").value = here.beside ? here.beside.join(".") : "";
  }

  let shown = 0;
  async function show() {
    const turn = ++shown;
    if (!data.questions.length) { at("text").textContent = "This report holds no samples."; return; }
    const here = current();
    options(here);
    const sides = [[here.r, here.s], ...(here.beside ? [here.beside] : [])];
    let pieces;
    try {
      pieces = await Promise.all(sides.map(([r]) => ATTS.load(r, here.q)));
    } catch (error) {
      at("text").textContent = error.message;
      return;
    }
    if (turn !== shown) return; // another sample was asked for meanwhile
    at("heading").textContent = `Question ${here.q + 1}`;
    at("text").textContent = pieces[0].about.text;
    typeset(at("text"));
    at("reference").textContent = pieces[0].about.reference;
    at("columns").className = sides.length > 1 ? "two" : "";
    at("columns").replaceChildren(...sides.map(([r, s], side) => {
      const row = data.questions[here.q].runs[r];
      const sample = pieces[side].samples.find((one) => one.i === row.n[s]);
      return column(sample, row.v[s], side, r, s, values(here));
    }));
    document.body.dataset.shown = `${here.q}.${here.r}.${here.s}`;
    focus(here.c);
  }
  function focus(name) {
    document.querySelectorAll(".chunk.here").forEach((one) => one.classList.remove("here"));
    const chosen = name && /^\d+\.\d+$/.test(name) ? at(`c${name}`) : null;
    if (chosen) { chosen.classList.add("here"); chosen.scrollIntoView({ block: "center" }); chosen.focus({ preventScroll: true }); }
  }
  function stepChunk(by) {
    const here = current();
    const [side, place] = here.c ? here.c.split(".").map(Number) : [0, by > 0 ? -1 : 1];
    if (at(`c${side}.${place + by}`)) { history.replaceState(null, "", ATTS.link({ ...values(here), c: `${side}.${place + by}` })); focus(`${side}.${place + by}`); }
  }

  const notRight = (state) => state === "w" || state === "u";
  at("prev").addEventListener("click", () => step(-1));
  at("next").addEventListener("click", () => step(1));
  at("wrong").addEventListener("click", () => step(1, notRight));
  at("question").addEventListener("change", (event) => go({ ...current(), q: Number(event.target.value), s: 0, beside: null }));
  at("sample").addEventListener("change", (event) => { const [r, s] = event.target.value.split(".").map(Number); go({ ...current(), r, s }); });
  at("beside").addEventListener("change", (event) => go({ ...current(), beside: event.target.value ? event.target.value.split(".").map(Number) : null }));
  at("typeset").addEventListener("change", show);
  document.addEventListener("keydown", (event) => {
    if (ATTS.typing(event)) return;
    const keys = {
      j: () => step(1), ArrowRight: () => step(1), k: () => step(-1), ArrowLeft: () => step(-1), w: () => step(1, notRight),
      n: () => stepChunk(1), p: () => stepChunk(-1), m: () => at("typeset").click(),
    };
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });
  window.addEventListener("hashchange", show);
  show();
})();
