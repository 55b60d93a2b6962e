"use strict";
// The page of `earmark app`: it sends a sound, waits for its turn, and shows what came of it.
(() => {
  const { Card, make, percent, stop: silence } = earmark;
  const at = (id) => document.getElementById(id);
  const LOOK_EVERY = 120, SLOWER = 1.2, SLOWEST = 1500; // milliseconds
  const state = { about: null, sound: null, id: null, card: null, turn: 0, recorder: null };

  async function ask(path, options) {
    let answer;
    try { answer = await fetch(path, options); } catch { throw new Error("the page's server does not answer; is `earmark app` still running?"); }
    if (answer.status === 204) return null;
    const values = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
    if (!answer.ok) throw new Error(values.error || `the server answered ${answer.status}`);
    return values;
  }

  // --- what can be chosen -----------------------------------------------------------------------------------

  function offer() { return state.about.models.find((one) => one.name === at("model").value); }

  function choices() {
    const { labels, methods, method } = offer();
    const quick = methods.filter((one) => !one.costly), costly = methods.filter((one) => one.costly);
    at("method").replaceChildren();
    for (const [title, some] of [["at once", quick], ["takes a while", costly]]) {
      if (!some.length) continue;
      const group = make("optgroup", at("method"), null, { label: title });
      for (const one of some) make("option", group, one.name, { value: one.name });
    }
    at("method").value = method;
    at("target").replaceChildren();
    make("option", at("target"), "what is decided", { value: "" });
    for (const label of labels) make("option", at("target"), label, { value: label });
    summary();
  }

  function summary() {
    const method = offer().methods.find((one) => one.name === at("method").value);
    at("summary").textContent = `${method.name}: ${method.summary}`;
  }

  // --- sending, and waiting for one's turn ------------------------------------------------------------------

  function say(text) { at("status").textContent = text; }
  function fail(error) { at("trouble").textContent = error ? error.message : ""; }

  function busy(on) { at("work").hidden = !on; }

  async function send(sound) {
    const turn = ++state.turn;
    if (state.recorder) { state.recorder.unwanted = true; state.recorder.stop(); }
    await forget();
    state.sound = sound;
    at("again").disabled = false;
    fail(null);
    if (sound.size > state.about.most_bytes) { fail(new Error(`${sound.name} has ${megabytes(sound.size)}, at most ${megabytes(state.about.most_bytes)} are taken`)); return; }
    busy(true);
    at("bar").removeAttribute("value");
    say(`sending ${sound.name}`);
    const wish = new URLSearchParams({ name: sound.name, model: at("model").value, method: at("method").value, target: at("target").value });
    try {
      const { id } = await ask(`api/sounds?${wish}`, { method: "POST", body: sound });
      if (turn !== state.turn) { await ask(`api/sounds/${id}`, { method: "DELETE" }); return; }
      history.replaceState(null, "", `#${id}`);
      await follow(id, turn);
    } catch (error) { if (turn === state.turn) { busy(false); say(""); fail(error); } }
  }

  async function follow(id, turn) {
    state.id = id;
    for (let pause = LOOK_EVERY; turn === state.turn; pause = Math.min(SLOWEST, pause * SLOWER)) {
      const told = await ask(`api/sounds/${id}`);
      if (turn !== state.turn) return;
      if (told.state === "done") { busy(false); await show(id, told, turn); return; }
      if (told.state === "failed") throw new Error(told.error);
      busy(true);
      if (told.state === "waiting") say(told.ahead === 1 ? "one sound is before yours" : `${told.ahead} sounds are before yours`);
      else say(told.total ? `window ${told.done} of ${told.total} is explained` : told.done ? `${told.done} windows are explained` : "listening");
      if (told.total) { at("bar").max = told.total; at("bar").value = told.done; } else at("bar").removeAttribute("value");
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  async function forget() {
    const { id } = state;
    clear();
    state.id = null;
    history.replaceState(null, "", location.pathname);
    if (id) await ask(`api/sounds/${id}`, { method: "DELETE" }).catch(() => {});
  }

  function clear() {
    silence();
    state.card = null;
    at("sounds").replaceChildren();
    at("timeline").replaceChildren();
    at("result").hidden = true;
  }

  // --- what came of it --------------------------------------------------------------------------------------

  async function show(id, told, turn) {
    say(`explained in ${told.seconds.toFixed(2)} s`);
    at("decided").textContent = `${told.label}${told.decision === told.label ? "" : `, decided: ${told.decision}`}, ${percent(told.probability)}, by ${told.method}`;
    at("files").href = `api/sounds/${id}/files.zip`;
    at("result").hidden = false;
    timeline(id, told.windows, turn);
    await open(id, strongest(told), turn);
  }

  // A long sound opens where the class that it is decided for is the most probable.
  function strongest(told) {
    let best = 0;
    const score = (one) => (one.label === told.label ? 1 : 0) + (one.probability || 0);
    told.windows.forEach((one, i) => { if (score(one) > score(told.windows[best])) best = i; });
    return best;
  }

  async function open(id, number, turn) {
    const page = await ask(`api/sounds/${id}/windows/${number}`);
    if (turn !== state.turn) return;
    silence();
    at("sounds").replaceChildren();
    [...at("timeline").children].forEach((button, i) => { button.setAttribute("aria-current", String(i === number)); button.tabIndex = i === number ? 0 : -1; });
    state.card = new Card(page.list[0], 0, page, at("sounds"));
    await state.card.load();
  }

  const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;

  function timeline(id, windows, turn) {
    at("timeline").hidden = at("legend").hidden = windows.length < 2;
    at("legend").replaceChildren();
    if (windows.length < 2) return;
    const labels = [...new Set(windows.map((one) => one.label).filter(Boolean))];
    const hue = (label) => `hsl(${Math.round(labels.indexOf(label) * 137.5) % 360} 60% 50%)`;
    windows.forEach((one, number) => {
      const said = `${clock(one.start)} to ${clock(one.end)}: ${one.label ? `${one.label}, ${percent(one.probability)}` : "silence"}`;
      const button = make("button", at("timeline"), null, { type: "button", title: said, "aria-label": said });
      button.style.height = `${100 * (one.probability || 0)}%`;
      if (one.label) button.style.background = hue(one.label);
      button.addEventListener("click", () => open(id, number, turn).catch(fail));
    });
    make("span", at("legend"), "Windows of the sound; the higher, the more probable:");
    for (const label of labels) {
      make("span", at("legend"), null, { class: "swatch" }).style.background = hue(label);
      make("span", at("legend"), label);
    }
  }

  at("timeline").addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], buttons = [...at("timeline").children];
    const next = buttons[buttons.indexOf(document.activeElement) + step];
    if (next) { event.preventDefault(); next.focus(); next.click(); }
  });

  // --- recording: decoded here and sent as WAV, as few servers read what browsers record ---------------------

  const megabytes = (size) => `${(size / 1e6).toFixed(1)} MB`;

  function wav(samples, rate) {
    const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
    const text = (place, letters) => [...letters].forEach((letter, i) => view.setUint8(place + i, letter.charCodeAt(0)));
    text(0, "RIFF"); view.setUint32(4, 36 + 2 * samples.length, true); text(8, "WAVEfmt ");
    view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
    view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
    text(36, "data"); view.setUint32(40, 2 * samples.length, true);
    samples.forEach((value, i) => view.setInt16(44 + 2 * i, Math.round(32767 * Math.max(-1, Math.min(1, value))), true));
    return view.buffer;
  }

  async function record() {
    if (state.recorder) { state.recorder.stop(); return; }
    if (!navigator.mediaDevices) throw new Error("browsers record only from this machine, or over https");
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
    const pieces = [], recorder = new MediaRecorder(stream);
    recorder.addEventListener("dataavailable", (event) => pieces.push(event.data));
    recorder.addEventListener("stop", () => { recorded(stream, pieces, recorder.unwanted).catch(fail); });
    state.recorder = recorder;
    recorder.start();
    at("record").textContent = "Stop recording";
    at("record").setAttribute("aria-pressed", "true");
    say("recording");
    setTimeout(() => recorder.state === "recording" && recorder.stop(), 60000 * state.about.most_minutes);
  }

  async function recorded(stream, pieces, unwanted) {
    state.recorder = null;
    stream.getTracks().forEach((track) => track.stop());
    at("record").textContent = "Record";
    at("record").setAttribute("aria-pressed", "false");
    if (unwanted) return; // a file was chosen meanwhile
    const context = new AudioContext();
    const buffer = await context.decodeAudioData(await new Blob(pieces).arrayBuffer());
    await context.close();
    const name = `recording ${new Date().toISOString().slice(0, 19).replaceAll(":", ".")}.wav`;
    await send(new File([wav(buffer.getChannelData(0), buffer.sampleRate)], name));
  }

  // --- what people do ---------------------------------------------------------------------------------------

  at("file").addEventListener("change", () => { const [file] = at("file").files; at("file").value = ""; if (file) send(file); });
  at("record").addEventListener("click", () => { fail(null); record().catch((error) => fail(new Error(`cannot record: ${error.message}`))); });
  at("stop").addEventListener("click", async () => { state.turn++; await forget(); busy(false); say("stopped"); });
  at("model").addEventListener("change", choices);
  at("method").addEventListener("change", summary);
  at("ask").addEventListener("submit", (event) => { event.preventDefault(); if (state.sound) send(state.sound); });
  for (const [kind, on] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]])
    document.addEventListener(kind, (event) => { event.preventDefault(); at("drop").classList.toggle("over", on); });
  document.addEventListener("drop", (event) => { const [file] = event.dataTransfer.files; if (file) send(file); });

  async function begin() {
    state.about = await ask("api/about");
    for (const one of state.about.models) make("option", at("model"), one.name, { value: one.name });
    at("models").hidden = state.about.models.length < 2;
    at("limits").textContent = `WAV, FLAC, Ogg, MP3 … of at most ${state.about.most_minutes} min and ${megabytes(state.about.most_bytes)}. It stays on the machine that serves this page, and is forgotten within the hour.`;
    choices();
    document.body.dataset.ready = "true";
    // A page that is loaded again finds its sound again.
    const id = location.hash.slice(1), turn = ++state.turn;
    if (/^[\w-]+$/.test(id)) await follow(id, turn);
  }
  begin().catch((error) => { busy(false); fail(error); });
})();
