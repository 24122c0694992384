// The browser of items: reads the embedded data, filters, sorts, shows and exports it. Text enters the page as text
// alone (textContent), never as markup. The state of the view is the fragment: #items?category=…&item=…
"use strict";
(() => {
  const PAGE_ROWS = 25;
  const about = JSON.parse(document.getElementById("page-about").textContent);
  const columns = about.checkpoints.map((_, i) => i);
  const last = columns.length - 1;
  const $ = (id) => document.getElementById(id);
  const filters = $("filters");
  const dialog = $("item");
  let items = [];
  let shown = [];
  let page = 0;
  let current = null;

  // ---- small helpers

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  const HIDDEN = new RegExp(about.hidden, "gu");
  const FLOOD = new RegExp(about.flood, "gu");

  function escaped(character) {
    const code = character.codePointAt(0);
    const [sign, width] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
    return `\\${sign}${code.toString(16).padStart(width, "0")}`;
  }

  const visible = (text) => text.replace(HIDDEN, escaped).replace(FLOOD, "$1");

  function line(text, width) {
    const flat = visible(text).replace(/\s+/g, " ").trim();
    return flat.length > width ? flat.slice(0, width - 1) + "…" : flat;
  }

  const points = (value) => (value === null || value === undefined ? "-" : (100 * value).toFixed(1));

  // ---- data

  async function unpacked(text) {
    if (typeof DecompressionStream === "undefined") throw new Error("this browser cannot unpack them; a newer one can");
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  async function readItems() {
    const found = [];
    for (const chunk of [...document.querySelectorAll("script.chunk")]) {
      const text = chunk.type === "application/json" ? chunk.textContent : await unpacked(chunk.textContent);
      chunk.remove();
      for (const item of JSON.parse(text)) found.push(item);
      await new Promise((resolve) => setTimeout(resolve));
    }
    found.forEach((item, order) => { item.order = order; });
    return found;
  }

  const scoreOf = (item, column) => {
    const answer = item.answers[column];
    return answer && answer.error === undefined ? answer.scores[about.primary[item.suite]] ?? null : null;
  };

  function gradeOf(item, column) {
    const answer = item.answers[column];
    if (!answer) return "missing";
    if (answer.error !== undefined) return "failed";
    const score = scoreOf(item, column);
    return score === null ? "unscored" : score >= 0.5 ? "right" : "wrong";
  }

  const costOf = (item, column) =>
    (item.answers[column]?.tags ?? []).reduce((sum, tag) => sum + about.severity[tag.severity] * tag.confidence, 0);

  // Whether an answer has no error: as the page counts them, a remark is none and a failed request is no answer.
  const clean = (answer) =>
    answer && answer.error === undefined && !(answer.tags ?? []).some((tag) => tag.severity !== "info");

  function searched(item) {
    item.words ??= [item.id, item.question, ...item.target, ...item.answers.map((a) => (a ? a.text : ""))]
      .join("\n").toLowerCase();
    return item.words;
  }

  // An item as it was embedded, for copies and exports: without what this script added.
  function plain(item) {
    const { order, words, ...rest } = item;
    return { ...rest, checkpoints: about.checkpoints };
  }

  // ---- filters

  const SORTS = {
    order: ["suite's order", (a, b) => a.order - b.order],
    low: ["lowest score first", (a, b, c) => (scoreOf(a, c) ?? 2) - (scoreOf(b, c) ?? 2)],
    high: ["highest score first", (a, b, c) => (scoreOf(b, c) ?? -1) - (scoreOf(a, c) ?? -1)],
    cost: ["costliest errors first", (a, b, c) => costOf(b, c) - costOf(a, c)],
    long: ["longest answer first", (a, b, c) => (b.answers[c]?.text.length ?? 0) - (a.answers[c]?.text.length ?? 0)],
    short: ["shortest answer first", (a, b, c) => (a.answers[c]?.text.length ?? 0) - (b.answers[c]?.text.length ?? 0)],
    id: ["id", (a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)],
  };

  function choices(name, pairs) {
    if (filters.elements[name]) {
      filters.elements[name].replaceChildren(...pairs.map(([value, text]) => element("option", { value }, text)));
    }
  }

  function fillFilters() {
    const categories = new Set();
    for (const item of items) {
      for (const answer of item.answers) for (const tag of answer?.tags ?? []) categories.add(tag.category);
    }
    const names = about.checkpoints.map((name, i) => [String(i), `${i + 1} ${line(name, 40)}`]);
    choices("suite", [["", "all"], ...Object.keys(about.primary).map((suite) => [suite, line(suite, 40)])]);
    choices("in", names);
    const flips = columns.slice(1).flatMap((column) => ["broken", "fixed", "unchanged"].map((flip) =>
      [`${column}:${flip}`, columns.length > 2 ? `${flip} in ${column + 1}` : flip]));
    choices("flip", [["", "all"], ...flips]);
    choices("category", [["", "all"], ["-none-", "(without an error)"],
      ...[...categories].sort().map((name) => [name, line(name, 40)])]);
    choices("score", [["", "all"], ["right", "right (50 or more)"], ["wrong", "wrong (below 50)"],
      ["unscored", "not scored"], ["failed", "failed request"]]);
    choices("sort", Object.entries(SORTS).map(([key, [text]]) => [key, text]));
    clear();
  }

  const untouched = (field) => (field.name === "in" ? String(last) : field.name === "sort" ? "order" : "");

  function clear() {
    for (const field of filters.elements) if (field.name) field.value = untouched(field);
  }

  const chosen = (name, otherwise = "") => filters.elements[name]?.value ?? otherwise;
  const column = () => Number(chosen("in", "0") || 0);

  function tests() {
    const [words, suite, category, score, flip] = ["q", "suite", "category", "score", "flip"].map((n) => chosen(n));
    const c = column();
    const found = [];
    if (suite) found.push((item) => item.suite === suite);
    if (flip) {
      const [k, wanted] = flip.split(":");
      found.push((item) => item.answers[k]?.flip === wanted);
    }
    if (category === "-none-") found.push((item) => clean(item.answers[c]));
    else if (category) found.push((item) => item.answers[c]?.tags?.some((tag) => tag.category === category));
    if (score) found.push((item) => gradeOf(item, c) === score);
    const sought = words.toLowerCase().trim();
    if (sought) found.push((item) => searched(item).includes(sought));
    return found;
  }

  function select() {
    const found = tests();
    const c = column();
    const order = (SORTS[chosen("sort")] ?? SORTS.order)[1];
    shown = items.filter((item) => found.every((test) => test(item)));
    shown.sort((a, b) => order(a, b, c) || a.order - b.order);
    page = 0;
    showList();
  }

  // ---- the list

  const keyOf = (item) => [item.suite, item.id, item.trial].map(encodeURIComponent).join("/");

  function fragment(item) {
    const state = new URLSearchParams();
    for (const field of filters.elements) {
      if (field.name && field.value !== untouched(field)) state.set(field.name, field.value);
    }
    if (item) state.set("item", keyOf(item));
    const text = state.toString();
    return text ? `#items?${text}` : "#items";
  }

  function showList() {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE_ROWS));
    $("count").textContent = `${shown.length} of ${items.length} items`;
    $("page").textContent = `page ${page + 1} of ${pages}`;
    $("previous-page").disabled = page === 0;
    $("next-page").disabled = page + 1 >= pages;
    const part = shown.slice(page * PAGE_ROWS, (page + 1) * PAGE_ROWS);
    $("list").tBodies[0].replaceChildren(...part.map(rowOf));
  }

  const many = columns.length > 1;
  const nameOf = (what, i) => (many ? `${i + 1} ${what}` : what);
  const flipName = (i) => (columns.length > 2 ? `${i + 1} flip` : "flip");

  function showHead() {
    const head = (text, kind) => element("th", { scope: "col", class: kind }, text);
    const scores = columns.flatMap((i) => [head(nameOf("score", i), "n"), head(nameOf("first error", i))]);
    const flips = columns.slice(1).map((i) => head(flipName(i)));
    const suite = Object.keys(about.primary).length > 1 ? [head("suite")] : [];
    $("list").tHead.replaceChildren(element("tr", {}, head("item"), ...suite, ...scores, ...flips, head("question")));
  }

  function rowOf(item) {
    const cell = (label, text, kind) => element("td", { class: kind, "data-label": label }, text);
    const link = element("a", { href: fragment(item), "data-key": keyOf(item) }, line(item.id, 40) || "(no id)");
    const scores = columns.flatMap((i) => [
      cell(nameOf("score", i), item.answers[i]?.error !== undefined ? "failed" : points(scoreOf(item, i)), `n ${gradeOf(item, i)}`),
      cell(nameOf("error", i), line(item.answers[i]?.primary ?? "", 30))]);
    const flips = columns.slice(1).map((i) => cell(flipName(i), item.answers[i]?.flip ?? "", item.answers[i]?.flip));
    const suite = Object.keys(about.primary).length > 1 ? [cell("suite", line(item.suite, 30))] : [];
    const question = element("td", { class: "question" }, element("bdi", {}, line(item.question, 160)));
    return element("tr", {}, element("th", { scope: "row" }, link), ...suite, ...scores, ...flips, question);
  }

  // ---- one item

  // Pieces of a text between the ends of all marks: [text, is a changed word, tags that cover it].
  function pieces(answer) {
    const spans = (answer.tags ?? []).filter((tag) => tag.span);
    const points = [...answer.text];
    const text = points.length === answer.text.length ? answer.text : points; // spans count characters, not UTF-16
    const ends = new Set([0, text.length]);
    for (const [a, b] of [...(answer.changed ?? []), ...spans.map((tag) => tag.span)]) ends.add(a).add(b);
    const cuts = [...ends].filter((end) => end >= 0 && end <= text.length).sort((a, b) => a - b);
    return cuts.slice(0, -1).map((start, i) => {
      const part = text.slice(start, cuts[i + 1]);
      const inside = ([a, b]) => a <= start && cuts[i + 1] <= b;
      return [typeof part === "string" ? part : part.join(""), (answer.changed ?? []).some(inside),
        spans.filter((tag) => inside(tag.span))];
    });
  }

  const WEIGHT = (tag) => about.severity[tag.severity];

  function marked(answer) {
    const box = element("div", { class: "text", dir: "auto" });
    for (const [text, changed, tags] of pieces(answer)) {
      let node = document.createTextNode(visible(text));
      if (changed) node = element("ins", {}, node);
      if (tags.length) {
        const gravest = tags.reduce((a, b) => (WEIGHT(b) > WEIGHT(a) ? b : a));
        node = element("mark", { class: gravest.severity, title: tags.map((tag) => tag.category).join(", ") }, node);
      }
      box.append(node);
    }
    if (!answer.text) box.append(element("span", { class: "dim" }, answer.logprobs ? "(chosen, not written)" : "(empty)"));
    return box;
  }

  function scoresOf(answer) {
    const list = element("ul", { class: "facts" });
    for (const [name, value] of Object.entries(answer.scores)) {
      const why = answer.why?.[name];
      list.append(element("li", {}, `${line(name, 60)} ${value === null ? "not scored" : points(value)}`,
        why ? element("span", { class: "dim" }, ` ${line(why, 200)}`) : null));
    }
    return list;
  }

  function tagsOf(answer, looked) {
    const list = element("ul", { class: "tags" });
    for (const tag of answer.tags ?? []) {
      list.append(element("li", {}, element("strong", { class: tag.severity }, line(tag.category, 60)),
        ` ${tag.severity}, confidence ${tag.confidence.toFixed(2)}: `, element("bdi", {}, line(tag.why, 300))));
    }
    return answer.tags ? list : element("p", { class: "dim" }, looked ? "no error found" : "no tagger looked for errors");
  }

  function answerBox(item, i) {
    const answer = item.answers[i];
    const title = columns.length > 1 ? `${i + 1} ${line(about.checkpoints[i], 80)}` : "answer";
    const box = element("section", { class: "answer", "aria-label": title },
      element("h4", {}, element("bdi", {}, title), answer?.flip ? element("span", { class: answer.flip }, ` ${answer.flip}`) : null));
    if (!answer) return box.append(element("p", { class: "dim" }, "not asked")), box;
    if (answer.error !== undefined) return box.append(element("p", { class: "note" }, `request failed: ${line(answer.error, 300)}`)), box;
    const tokens = answer.tokens === null ? "" : `${answer.tokens} tokens, `;
    box.append(marked(answer), element("p", { class: "dim" }, `${tokens}ended by ${answer.finish}`), scoresOf(answer), tagsOf(answer, about.tagged[item.suite]));
    return box;
  }

  function choicesOf(item) {
    const list = element("ol", { class: "facts" });
    item.choices.forEach((choice, i) => {
      const odds = columns.map((c) => item.answers[c]?.logprobs?.[i]).map((p) => (p === undefined ? "-" : p.toFixed(2)));
      list.append(element("li", {}, element("bdi", {}, visible(choice)), element("span", { class: "dim" }, ` ${odds.join(" · ")} nats`)));
    });
    return list;
  }

  function facts(item) {
    const list = element("dl", {});
    const add = (name, ...values) => list.append(element("dt", {}, name), ...values.map((v) => element("dd", { dir: "auto" }, v)));
    for (const turn of item.turns ?? []) add(line(turn.role, 20), visible(turn.content));
    if (!item.turns) add("question", visible(item.question));
    if (item.target.length) add(item.target.length > 1 ? "accepted answers" : "reference", ...item.target.map(visible));
    if (item.choices) add("choices", choicesOf(item));
    for (const [key, value] of Object.entries(item.meta ?? {})) {
      add(line(key, 40), line(typeof value === "string" ? value : JSON.stringify(value), 200));
    }
    return list;
  }

  function openItem(item) {
    current = item;
    $("item-title").textContent = line(item.id, 80) + (item.trial ? `, trial ${item.trial}` : "");
    $("item-body").replaceChildren(facts(item),
      element("div", { class: "columns" }, ...columns.map((i) => answerBox(item, i))));
    $("copied").textContent = "";
    const place = shown.indexOf(item);
    $("previous-item").disabled = place <= 0;
    $("next-item").disabled = place < 0 || place + 1 >= shown.length;
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    $("item-title").focus();
  }

  function go(item) {
    history.replaceState(null, "", fragment(item));
    if (item) openItem(item);
  }

  function step(by) {
    const next = shown[shown.indexOf(current) + by];
    if (next) go(next);
  }

  // ---- copy and export

  async function copy(text, what) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const field = element("textarea", { class: "sr" });
      field.value = text;
      dialog.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    $("copied").textContent = `${what} copied`;
  }

  function save(name, type, text) {
    const url = URL.createObjectURL(new Blob([text], { type }));
    element("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }

  const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;

  // A cell that a spreadsheet would run as a formula gets an apostrophe; a number stays as it is.
  function csvCell(value) {
    let text = value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
    if (/^[\s\u0000]*[=+\-@\uff1d\uff0b\uff0d\uff20|]|^[\t\r\n]/.test(text) && !NUMBER.test(text)) text = `'${text}`;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  function csv() {
    const fixed = ["suite", "id", "trial", "question", "target"];
    const head = [...fixed, ...columns.flatMap((i) => ["checkpoint", "answer", "score", "errors", "flip"].map((n) => `${n} ${i + 1}`))];
    const rows = shown.map((item) => [...fixed.map((name) => item[name]), ...columns.flatMap((i) => {
      const answer = item.answers[i];
      return [about.checkpoints[i], answer?.text, scoreOf(item, i), (answer?.tags ?? []).map((tag) => tag.category).join("; "), answer?.flip];
    })]);
    return [head, ...rows].map((row) => row.map(csvCell).join(",")).join("\r\n") + "\r\n";
  }

  // ---- start

  function readFragment() {
    const [place, query] = location.hash.split(/\?(.*)/s);
    if (place !== "#items" || query === undefined) return;
    const state = new URLSearchParams(query);
    clear();
    for (const field of filters.elements) if (field.name && state.has(field.name)) field.value = state.get(field.name);
    select();
    const key = state.get("item");
    const item = key && items.find((found) => keyOf(found) === key);
    if (item) openItem(item);
    else {
      if (dialog.open) dialog.close();
      $("items").scrollIntoView();
    }
  }

  function listen() {
    filters.addEventListener("input", () => { select(); history.replaceState(null, "", fragment(null)); });
    filters.addEventListener("submit", (event) => event.preventDefault());
    filters.addEventListener("reset", (event) => {
      event.preventDefault();
      clear();
      select();
      history.replaceState(null, "", fragment(null));
    });
    $("list").addEventListener("click", (event) => {
      const link = event.target.closest("a[data-key]");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      go(shown.find((item) => keyOf(item) === link.dataset.key));
    });
    $("previous-page").addEventListener("click", () => { page -= 1; showList(); });
    $("next-page").addEventListener("click", () => { page += 1; showList(); });
    $("previous-item").addEventListener("click", () => step(-1));
    $("next-item").addEventListener("click", () => step(+1));
    $("copy-item").addEventListener("click", () => copy(JSON.stringify(plain(current), null, 1), "item"));
    $("copy-link").addEventListener("click", () => copy(location.href, "link"));
    $("export-jsonl").addEventListener("click", () =>
      save("items.jsonl", "application/x-ndjson", shown.map((item) => JSON.stringify(plain(item)) + "\n").join("")));
    $("export-csv").addEventListener("click", () => save("items.csv", "text/csv", csv()));
    dialog.addEventListener("close", () => {
      history.replaceState(null, "", fragment(null));
      document.querySelector(`a[data-key="${CSS.escape(keyOf(current))}"]`)?.focus();
    });
    addEventListener("hashchange", readFragment);
  }

  readItems().then((found) => {
    items = found;
    fillFilters();
    showHead();
    listen();
    select();
    $("loading").hidden = true;
    filters.hidden = $("browser").hidden = false;
    readFragment();
    document.documentElement.dataset.ready = "true";
  }).catch((fault) => {
    $("loading").textContent = `The items cannot be shown: ${fault.message}`;
  });
})();
