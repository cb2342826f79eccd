"use strict";
// What both pages share. Texts of models and data sets reach the page through textContent alone.
const ATTS = (() => {
  const waiting = new Map();
  const loaded = new Map();
  const address = (run, question) => `data/r${run}/q${question}.js`;
  const check = (url) => {
    if (!/^data\/r\d+\/q\d+\.js$/.test(url)) throw new TypeError(`no piece of this report: ${url}`);
    return url;
  };
  const policy = window.trustedTypes
    ? window.trustedTypes.createPolicy("pieces", { createScriptURL: check })
    : { createScriptURL: check };

  // An element with attributes, and children that are nodes or texts.
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children.map((child) => (child instanceof Node ? child : String(child))));
    return element;
  }

  // The samples of a question in a run: a script that calls piece().
  function load(run, question) {
    const url = address(run, question);
    if (!loaded.has(url)) {
      loaded.set(url, new Promise((done, failed) => {
        const script = document.createElement("script");
        waiting.set(url, { about: null, samples: [] });
        script.onload = () => done(waiting.get(url));
        script.onerror = () => failed(new Error(`${url} can't be read`));
        script.src = policy.createScriptURL(url);
        document.head.append(script);
      }));
    }
    return loaded.get(url);
  }

  return {
    data: null,
    index(value) { this.data = value; },
    piece([run, question, about, samples]) {
      const place = waiting.get(address(run, question));
      place.about = about;
      place.samples.push(...samples);
    },
    make,
    load,
    symbols: { r: "✓", w: "✗", u: "?", s: "–" },
    words: { r: "right", w: "wrong", u: "unanswered", s: "stopped" },
    hash: () => Object.fromEntries(new URLSearchParams(location.hash.slice(1))),
    link: (values) => "#" + new URLSearchParams(Object.entries(values).filter(([, v]) => v !== "" && v != null)),
    typing: (event) => event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox",
  };
})();
