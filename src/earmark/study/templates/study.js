"use strict";
// The page of `earmark study serve`: sounds that run together, and a rating of each, stored when it is given.
(() => {
  const at = (id) => document.getElementById(id);
  const SCALE = ["bad", "poor", "fair", "good", "excellent"]; // ITU-R BS.1534, from 0 to 100
  const RETRY = 3000; // milliseconds
  const state = { id: null, study: null, page: 0, buffers: [], context: null, nodes: [], gains: [], heard: -1, started: 0, offset: 0, waiting: new Map() };

  async function ask(path, options) {
    const answer = await fetch(path, options);
    const values = await answer.json();
    if (!answer.ok) throw Object.assign(new Error(values.error), { status: answer.status });
    return values;
  }
  function fail(error) { at("trouble").textContent = error ? error.message : ""; }

  // --- sounds: all run at once and one is heard, so that switching loses no place --------------------------

  function play(which) {
    if (!state.buffers.length) return;
    state.context.resume();
    if (state.nodes.length && state.heard === which) return;
    if (!state.nodes.length) start();
    state.heard = which;
    state.gains.forEach((gain, i) => gain.gain.setTargetAtTime(i === which ? 1 : 0, state.context.currentTime, 0.008));
    refresh();
  }

  function start() {
    state.started = state.context.currentTime;
    for (const buffer of state.buffers) {
      const node = state.context.createBufferSource(), gain = state.context.createGain();
      node.buffer = buffer; node.loop = true; gain.gain.value = 0;
      node.connect(gain).connect(state.context.destination);
      node.start(0, state.offset);
      state.nodes.push(node); state.gains.push(gain);
    }
    requestAnimationFrame(tick);
  }

  function where() {
    const length = state.buffers.length ? state.buffers[0].duration : 1;
    return state.nodes.length ? (state.offset + state.context.currentTime - state.started) % length : state.offset;
  }

  function pause() {
    state.offset = where();
    for (const node of state.nodes) node.stop();
    state.nodes = []; state.gains = []; state.heard = -1;
    refresh();
  }

  function tick() {
    if (!state.buffers.length) return;
    at("place").value = where() / state.buffers[0].duration;
    if (state.nodes.length) requestAnimationFrame(tick);
  }

  function refresh() {
    const buttons = [at("reference"), ...document.querySelectorAll(".rated button")];
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === state.heard)));
    at("pause").disabled = state.heard < 0;
    document.body.dataset.heard = state.heard;
  }

  // --- ratings: sent at once, and again until they are stored ----------------------------------------------

  function rate(place, score) {
    fail(null);
    current().scores[place] = score;
    state.waiting.set(`${state.page}/${place}`, score);
    send();
    ready();
  }

  async function send() {
    if (state.sending) return;
    state.sending = true;
    at("saved").textContent = "saving …";
    try {
      while (state.waiting.size) {
        const [where, score] = state.waiting.entries().next().value;
        await ask(`api/listeners/${state.id}/ratings/${where}`, { method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ score }) });
        if (state.waiting.get(where) === score) state.waiting.delete(where);
      }
      at("saved").textContent = "saved";
    } catch (error) {
      if (error.status) {
        fail(error);
        at("saved").textContent = "not saved";
        for (const where of state.waiting.keys()) { const [page, place] = where.split("/"); state.study.pages[page].scores[place] = null; }
        state.waiting.clear();
      } else { at("saved").textContent = "not saved yet; trying again"; setTimeout(send, RETRY); }
    } finally { state.sending = false; ready(); }
  }

  function ready() {
    const missing = current().scores.filter((score) => score === null).length;
    at("next").disabled = missing > 0 || state.waiting.size > 0;
    at("next").title = missing ? `${missing} are not rated yet` : "";
  }

  // --- pages ------------------------------------------------------------------------------------------------

  const current = () => state.study.pages[state.page];

  function only(id) { for (const name of ["welcome", "page", "thanks"]) at(name).hidden = name !== id; }

  async function show(number) {
    if (state.nodes.length) pause();
    state.page = number; state.offset = 0; state.buffers = [];
    const page = current();
    only("page");
    at("where").textContent = `Sound ${number + 1} of ${state.study.pages.length}`;
    at("label").textContent = page.label;
    at("back").disabled = number === 0;
    at("next").textContent = number + 1 === state.study.pages.length ? "Finish" : "Next";
    at("saved").textContent = "";
    at("sounds").replaceChildren();
    page.sounds.forEach((_, place) => at("sounds").append(row(place, page.scores[place])));
    ready();
    refresh();
    at("where").focus();
    const context = state.context = state.context || new AudioContext();
    const buffers = await Promise.all([page.reference, ...page.sounds].map(async (path) => {
      const answer = await fetch(path);
      if (!answer.ok) throw new Error("a sound of this page cannot be loaded; tell whoever asked you");
      return context.decodeAudioData(await answer.arrayBuffer());
    }));
    if (state.page !== number) return;
    state.buffers = buffers;
    document.body.dataset.loaded = number;
  }

  function row(place, score) {
    const line = document.createElement("div");
    line.className = "rated";
    const button = document.createElement("button"), middle = document.createElement("div"), slider = document.createElement("input");
    const words = document.createElement("div"), output = document.createElement("output");
    button.type = "button";
    button.textContent = `Interpretation ${place + 1}`;
    button.addEventListener("click", () => play(place + 1));
    slider.type = "range"; slider.min = 0; slider.max = 100; slider.value = score === null ? 50 : score;
    slider.setAttribute("aria-label", `Rating of interpretation ${place + 1}, 0 bad to 100 excellent`);
    const say = () => { output.textContent = current().scores[place] === null ? "not rated" : String(Math.round(slider.value)); };
    slider.addEventListener("input", () => { output.textContent = slider.value; });
    slider.addEventListener("change", () => { rate(place, Number(slider.value)); say(); });
    // Who means the middle moves nothing: a click, or Enter, is a rating too.
    slider.addEventListener("pointerup", () => { if (current().scores[place] === null) { rate(place, Number(slider.value)); say(); } });
    slider.addEventListener("keydown", (event) => { if (event.key === "Enter") { rate(place, Number(slider.value)); say(); } });
    words.className = "scale";
    words.setAttribute("aria-hidden", "true");
    for (const word of SCALE) { const span = document.createElement("span"); span.textContent = word; words.append(span); }
    middle.append(slider, words);
    line.append(button, middle, output);
    say();
    return line;
  }

  function next() {
    if (state.page + 1 < state.study.pages.length) { show(state.page + 1).catch(fail); return; }
    pause();
    only("thanks");
    at("end").focus();
  }

  async function resume(id) {
    state.id = id;
    state.study = await ask(`api/listeners/${id}`);
    document.title = at("title").textContent = state.study.title;
    at("told").textContent = state.study.welcome;
    for (const list of document.querySelectorAll(".instructions")) {
      list.replaceChildren();
      for (const line of state.study.instructions) { const item = document.createElement("li"); item.textContent = line; list.append(item); }
    }
    const open = state.study.pages.findIndex((page) => page.scores.includes(null));
    if (open === -1) only("thanks");
    else if (open === 0 && state.study.pages[0].scores.every((score) => score === null)) only("welcome");
    else await show(open);
    document.body.dataset.ready = "true";
  }

  async function begin() {
    let id = location.hash.slice(1);
    if (!/^[\w-]+$/.test(id)) ({ id } = await ask("api/listeners", { method: "POST" }));
    history.replaceState(null, "", `#${id}`);
    await resume(id);
  }

  at("begin").addEventListener("click", () => show(0).catch(fail));
  at("reference").addEventListener("click", () => play(0));
  at("pause").addEventListener("click", pause);
  at("back").addEventListener("click", () => show(state.page - 1).catch(fail));
  at("next").addEventListener("click", next);
  at("again").addEventListener("click", () => show(0).catch(fail));
  document.addEventListener("keydown", (event) => {
    if (at("page").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^\d$/.test(event.key) && Number(event.key) <= current().sounds.length) { event.preventDefault(); play(Number(event.key)); }
    else if (event.key === "p" && state.nodes.length) pause();
  });
  begin().catch(fail);
})();
