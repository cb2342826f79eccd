"use strict";
// The grid of questions and samples: sorted, filtered, a page at a time.
(() => {
  const { make, data, symbols, words } = ATTS;
  const PER_PAGE = 50;
  const form = document.getElementById("filters");
  const fields = form.elements;
  for (const [number, run] of data.runs.entries()) fields.run.append(make("option", { value: number }, `${run.letter}  ${run.name}`));
  for (const [number, name] of data.ended.entries()) fields.ended.append(make("option", { value: number }, name));

  const share = (row) => {
    const counted = [...row.v].filter((state) => state !== "s");
    return counted.length ? counted.filter((state) => state === "r").length / counted.length : null;
  };
  const rows = (question, run) => (run === "" ? Object.values(question.runs) : [question.runs[run]]).filter(Boolean);
  const mean = (values) => (values.length ? values.reduce((a, b) => a + b, 0) / values.length : null);
  const shares = (question, run) => rows(question, run).map(share).filter((value) => value !== null);
  const spread = (question) => { const found = shares(question, ""); return found.length ? Math.max(...found) - Math.min(...found) : 0; };
  const taken = (question, run) => rows(question, run).reduce((sum, row) => sum + row.t, 0);

  function chosen(want) {
    const text = want.text.toLowerCase();
    const kept = data.questions.map((question, place) => ({ question, place })).filter(({ question }) => {
      const found = rows(question, want.run);
      return found.length
        && (!text || question.text.toLowerCase().includes(text))
        && found.some((row) => [...row.v].some((state, i) => (!want.state || state === want.state) && (want.ended === "" || row.e[i] === Number(want.ended))));
    });
    const keys = {
      low: ({ question }) => mean(shares(question, want.run)) ?? 2,
      high: ({ question }) => -(mean(shares(question, want.run)) ?? -1),
      differ: ({ question }) => -spread(question),
      taken: ({ question }) => -taken(question, want.run),
    };
    const key = keys[want.sort];
    return key ? kept.map((one) => [key(one), one]).sort((a, b) => a[0] - b[0]).map(([, one]) => one) : kept;
  }

  function cells(row, place, run) {
    return [...row.v].map((state, i) => make("a", {
      class: `cell ${state}`,
      href: `transcript.html${ATTS.link({ q: place, r: run, s: i })}`,
      title: `Sample ${i + 1} (number ${row.n[i]} in its folder): ${words[state]}, ${data.ended[row.e[i]]}`,
      "aria-label": `Question ${place + 1}, sample ${i + 1} of run ${data.runs[run].letter}: ${words[state]}`,
    }, symbols[state]));
  }

  function show() {
    const given = ATTS.hash();
    const want = { sort: "", run: "", state: "", ended: "", text: "", ...given };
    if (want.run !== "" && !data.runs[want.run]) want.run = "";
    for (const name of ["sort", "run", "state", "ended", "text"]) if (fields[name].value !== want[name]) fields[name].value = want[name];
    const found = chosen(want);
    const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
    const page = Math.min(Math.max(0, Math.floor(Number(want.page) || 0)), pages - 1);
    document.getElementById("count").textContent = `${found.length} of ${data.questions.length} questions`;
    document.getElementById("page").textContent = `page ${page + 1} of ${pages}`;
    const [before, after] = [document.getElementById("before"), document.getElementById("after")];
    before.disabled = page === 0;
    after.disabled = page === pages - 1;
    before.onclick = () => { location.hash = ATTS.link({ ...want, page: page - 1 }); };
    after.onclick = () => { location.hash = ATTS.link({ ...want, page: page + 1 }); };
    const grid = document.createDocumentFragment();
    for (const { question, place } of found.slice(page * PER_PAGE, (page + 1) * PER_PAGE)) {
      const shown = Object.entries(question.runs).filter(([run]) => want.run === "" || run === want.run);
      grid.append(make("article", { class: "question", "data-question": place },
        make("p", { class: "excerpt" }, make("b", {}, `${place + 1}`), ` ${question.text}`),
        ...shown.map(([run, row]) => {
          const right = share(row);
          return make("div", { class: "samples" },
            make("span", { class: "run", title: data.runs[run].name }, data.runs[run].letter),
            make("span", { class: "cells" }, ...cells(row, place, run)),
            make("span", { class: "share", title: "Right; chunks that the target wrote" }, `${right === null ? "-" : Math.round(100 * right) + " %"} · ${row.t} taken over`));
        })));
    }
    document.getElementById("grid").replaceChildren(grid);
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    const values = Object.fromEntries(["sort", "run", "state", "ended", "text"].map((name) => [name, fields[name].value]));
    history.replaceState(null, "", ATTS.link(values) === "#" ? "#" : ATTS.link(values));
    show();
  });
  window.addEventListener("hashchange", show);
  document.addEventListener("keydown", (event) => {
    if (ATTS.typing(event)) return;
    if (event.key === "n") document.getElementById("after").click();
    if (event.key === "p") document.getElementById("before").click();
  });
  show();
})();
