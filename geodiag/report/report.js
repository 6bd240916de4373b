"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const run = byId("run"), step = byId("step");
  let data = null;
  document.documentElement.classList.add("scripted");

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  /* Every name in this HTML was escaped when the page was made. */
  function show(element, places) {
    element.innerHTML = places.map((at) => data.pieces[at]).join("");
    prepare(element);
  }

  function fillSteps(name) {
    step.replaceChildren(...data.runs[name].steps.map(([number, label]) => new Option(label, number)));
  }

  function pick(name, number, options = {}) {
    const known = data && data.runs[name];
    if (!known || !(number in known.said)) return;
    if (run.value !== name || !step.options.length) fillSteps(name);
    if (shown.run !== name) show(byId("panel"), known.panel);
    run.value = name;
    step.value = number;
    show(byId("said"), known.said[number]);
    shown = { run: name, step: String(number) };
    byId("before").disabled = step.selectedIndex === 0;
    byId("after").disabled = step.selectedIndex === step.length - 1;
    byId("status").textContent = `Run ${name}, step ${step.selectedOptions[0].textContent}`;
    markPicked();
    if (!options.quiet) history.replaceState(null, "", `#run=${encodeURIComponent(name)}&step=${number}`);
    if (options.go) {
      byId("explain").scrollIntoView({ behavior: "auto", block: "start" });
      byId("explain").focus({ preventScroll: true });
    }
  }
  let shown = { run: null, step: null };

  function markPicked() {
    document.querySelectorAll("td.picked").forEach((cell) => cell.classList.remove("picked"));
    document.querySelectorAll("#runs td[data-run]").forEach((cell) => {
      if (cell.dataset.run === shown.run && cell.dataset.step === shown.step) cell.classList.add("picked");
    });
  }

  function fromAddress() {
    const asked = new URLSearchParams(location.hash.slice(1));
    if (!asked.has("run")) return false;
    pick(asked.get("run"), Number(asked.get("step")), { quiet: true, go: true });
    return true;
  }

  /* Sorting */
  const rank = (text) => {
    const match = text.replace("<", "").match(/-?\d+(\.\d+)?(e-?\d+)?/i);
    return match ? Number(match[0]) : Number.NEGATIVE_INFINITY;
  };
  function sortBy(button) {
    const head = button.closest("th"), table = button.closest("table"), body = table.tBodies[0];
    const at = head.cellIndex, numeric = head.classList.contains("number");
    const down = head.getAttribute("aria-sort") === "ascending" || (numeric && !head.hasAttribute("aria-sort"));
    table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[at].textContent.trim();
    const blank = (row) => key(row) === "–" || key(row) === "";
    const rows = [...body.rows].sort((a, b) => {
      if (blank(a) || blank(b)) return blank(a) - blank(b);
      const order = numeric ? rank(key(a)) - rank(key(b)) : key(a).localeCompare(key(b), "en", { numeric: true });
      return down ? -order : order;
    });
    body.append(...rows);
  }

  /* Heatmaps: one tab stop each, arrows move, a line below repeats the cell. */
  function prepare(root) {
    root.querySelectorAll("table.heat").forEach((table) => {
      const heads = [...table.tHead.rows[0].cells].slice(1);
      table.classList.toggle("tall", heads.some((cell) => cell.textContent.length > 4));
      const first = table.querySelector("td[title]");
      if (first) first.tabIndex = 0;
    });
  }
  function read(cell) {
    const line = cell.closest(".heatmap").querySelector(".readout");
    line.textContent = cell.title;
  }
  function move(cell, key) {
    const rows = [...cell.closest("tbody").rows];
    let y = rows.indexOf(cell.parentElement), x = cell.cellIndex;
    const [dy, dx] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[key];
    do {
      y += dy;
      x += dx;
      const next = rows[y] && rows[y].cells[x];
      if (!next) return;
      if (next.title) {
        cell.tabIndex = -1;
        next.tabIndex = 0;
        next.focus();
        return;
      }
    } while (true);
  }

  document.addEventListener("click", (event) => {
    const sorter = event.target.closest("button.sort");
    if (sorter) return sortBy(sorter);
    const target = event.target.closest("[data-run]");
    if (target) pick(target.dataset.run, Number(target.dataset.step), { go: !target.closest("#explain") });
  });
  document.addEventListener("keydown", (event) => {
    const cell = event.target.closest && event.target.closest("table.heat td");
    if (!cell) return;
    if (event.key.startsWith("Arrow")) {
      event.preventDefault();
      move(cell, event.key);
    } else if ((event.key === "Enter" || event.key === " ") && cell.dataset.run) {
      event.preventDefault();
      pick(cell.dataset.run, Number(cell.dataset.step), { go: !cell.closest("#explain") });
    }
  });
  for (const kind of ["pointerover", "focusin"]) {
    document.addEventListener(kind, (event) => {
      const cell = event.target.closest && event.target.closest("table.heat td[title]");
      if (cell) read(cell);
    });
  }

  /* Which correlation is shown */
  function chooseWay() {
    const chosen = document.querySelector("input[name=way]:checked");
    document.querySelectorAll(".way").forEach((part) => {
      part.classList.toggle("chosen", Boolean(chosen) && part.dataset.way === chosen.value);
    });
  }
  document.querySelectorAll("input[name=way]").forEach((input) => input.addEventListener("change", chooseWay));
  chooseWay();

  /* On paper everything is unfolded. */
  const folded = new Set();
  addEventListener("beforeprint", () => {
    const parts = "#tables details:not([open]), #figures details:not([open]), .glossary:not([open])";
    document.querySelectorAll(parts).forEach((part) => { folded.add(part); part.open = true; });
  });
  addEventListener("afterprint", () => {
    folded.forEach((part) => { part.open = false; });
    folded.clear();
  });

  byId("picker").addEventListener("submit", (event) => event.preventDefault());
  run.addEventListener("change", () => {
    const steps = data.runs[run.value].steps.map(([number]) => number);
    const wanted = Number(step.value);
    fillSteps(run.value);
    pick(run.value, steps.includes(wanted) ? wanted : steps[steps.length - 1]);
  });
  step.addEventListener("change", () => pick(run.value, Number(step.value)));
  byId("before").addEventListener("click", () => pick(run.value, Number(step.options[step.selectedIndex - 1].value)));
  byId("after").addEventListener("click", () => pick(run.value, Number(step.options[step.selectedIndex + 1].value)));
  addEventListener("hashchange", fromAddress);
  prepare(document);

  if (typeof DecompressionStream === "undefined") {
    byId("picker").replaceChildren("This browser is too old to unpack the other steps; one is shown.");
    return;
  }
  unpack(byId("blob").textContent).then((found) => {
    data = found;
    fillSteps(data.first[0]);
    if (!fromAddress()) pick(data.first[0], data.first[1], { quiet: true });
    document.documentElement.dataset.ready = "yes";
  });
})();
