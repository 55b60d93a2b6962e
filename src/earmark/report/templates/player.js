"use strict";
// Pictures, and the sounds behind a mask, made on the page from one sound and one mask.
// `earmark report` and `earmark app` both show their sounds by it.
const earmark = (() => {
  const HOW = [
    ["AI", "1 if the class is more probable for the kept part alone than for the whole sound"],
    ["AD", "by how many per cent of itself the class's probability falls with the kept part alone; 0 is best"],
    ["AG", "how much of what was missing to certainty the kept part gains, in per cent"],
    ["FF", "by how much the class's probability falls when the kept part is taken away; high is best"],
    ["Fid-In", "1 if the kept part alone is decided as the whole sound"],
    ["SPS", "how unevenly the mask is spread: 1 is all in few places"],
    ["COMP", "entropy of the mask; low is simple"],
    ["MM", "mean of the mask"],
  ];

  const { analyse, masked } = earmarkSound;

  // --- pictures ---------------------------------------------------------------------------------------------

  // Black over violet and orange to white: even steps of lightness, for those who see no colours, too.
  const STOPS = [[0, 0, 4], [59, 15, 112], [140, 41, 129], [222, 73, 104], [254, 159, 109], [252, 253, 191]];
  function colour(value) {
    const at = Math.max(0, Math.min(0.9999, value)) * (STOPS.length - 1), low = Math.floor(at), part = at - low;
    return STOPS[low].map((c, i) => c + part * (STOPS[low + 1][i] - c));
  }
  const COLOURS = Array.from({ length: 256 }, (_, i) => colour(i / 255));

  function paint(canvas, spectrum, keep) {
    const { re, im, bins, frames } = spectrum;
    canvas.width = frames; canvas.height = bins;
    const context = canvas.getContext("2d"), image = context.createImageData(frames, bins);
    let peak = 1e-12;
    for (let i = 0; i < re.length; i++) peak = Math.max(peak, re[i] * re[i] + im[i] * im[i]);
    for (let f = 0; f < frames; f++)
      for (let k = 0; k < bins; k++) {
        const i = f * bins + k, level = 1 + (10 * Math.log10((re[i] * re[i] + im[i] * im[i]) / peak + 1e-12)) / 70;
        const [r, g, b] = COLOURS[Math.max(0, Math.min(255, Math.round(level * 255)))];
        const share = 0.18 + 0.82 * keep(i), at = 4 * ((bins - 1 - k) * frames + f);
        image.data[at] = r * share; image.data[at + 1] = g * share; image.data[at + 2] = b * share;
        image.data[at + 3] = 255;
      }
    context.putImageData(image, 0, 0);
  }

  function bytes(base64) { return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)); }

  // A mask is a grey picture, frames wide and bins high, the lowest bin at the bottom.
  async function read_mask(base64) {
    const bitmap = await createImageBitmap(new Blob([bytes(base64)], { type: "image/png" }), { colorSpaceConversion: "none" });
    const canvas = document.createElement("canvas");
    canvas.width = bitmap.width; canvas.height = bitmap.height;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    const grey = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
    const frames = bitmap.width, bins = bitmap.height, mask = new Float32Array(frames * bins);
    for (let f = 0; f < frames; f++)
      for (let k = 0; k < bins; k++) mask[f * bins + k] = grey[4 * ((bins - 1 - k) * frames + f)] / 255;
    return mask;
  }

  // --- playing: three sounds run at once, and two of them are silent, so that switching loses no place -----

  let audio = null;
  const PARTS = ["whole", "heard", "rest"];
  const player = { card: null, started: 0, offset: 0, nodes: [], gains: [] };

  function start(card, offset) {
    audio = audio || new AudioContext();
    audio.resume();
    stop();
    const length = card.sounds.whole.duration;
    offset = offset >= length - 0.01 ? 0 : Math.max(0, offset);
    player.card = card; player.offset = offset; player.started = audio.currentTime;
    for (const part of PARTS) {
      const node = audio.createBufferSource(), gain = audio.createGain();
      node.buffer = card.sounds[part];
      gain.gain.value = card.part === part ? 1 : 0;
      node.connect(gain).connect(audio.destination);
      node.start(0, offset);
      player.nodes.push(node); player.gains.push(gain);
    }
    const last = player.nodes[0];
    last.onended = () => { if (player.nodes[0] === last) { stop(); card.offset = 0; card.refresh(); } };
    card.refresh();
    requestAnimationFrame(tick);
  }

  function stop() {
    const card = player.card;
    if (card) card.offset = place();
    for (const node of player.nodes) { node.onended = null; try { node.stop(); } catch { /* has ended */ } }
    player.card = null; player.nodes = []; player.gains = [];
    if (card) { card.refresh(); card.point(card.offset); }
  }

  function place() {
    return player.card ? player.offset + audio.currentTime - player.started : 0;
  }

  function listen_to(card, part) {
    card.part = part;
    if (player.card === card)
      PARTS.forEach((name, i) => player.gains[i].gain.setTargetAtTime(name === part ? 1 : 0, audio.currentTime, 0.008));
    card.refresh();
  }

  function tick() {
    if (!player.card) return;
    player.card.point(place());
    requestAnimationFrame(tick);
  }

  // --- a sound on the page ----------------------------------------------------------------------------------

  function make(tag, parent, text, more) {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = text;
    for (const [name, value] of Object.entries(more || {})) element.setAttribute(name, value);
    parent.append(element);
    return element;
  }
  const percent = (value) => (value === null || value === undefined ? "—" : `${(100 * value).toFixed(value > 0.995 || value < 0.005 ? 1 : 0)} %`);

  const breath = () => new Promise((resolve) => setTimeout(resolve));

  const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

  class Card {
    // `files` has the sounds and masks that sounds name, in base64, as `earmark.report.html.Page` gives them.
    constructor(sound, index, files, parent) {
      this.sound = sound; this.index = index; this.files = files;
      this.shown = 0; this.part = "whole"; this.offset = 0; this.threshold = 0; this.loaded = null;
      this.element = make("article", parent, null, { tabindex: "0", "aria-labelledby": `name-${index}` });
      this.build();
    }
    get variant() { return this.sound.variants[this.shown]; }

    build() {
      const head = make("div", this.element, null, { class: "head" });
      make("h2", head, this.sound.name, { id: `name-${this.index}` });
      this.says = make("span", head);
      if (this.sound.variants.length > 1) {
        const label = make("label", this.element, "Explanation ");
        const select = make("select", label, null, { class: "variant" });
        this.sound.variants.forEach((one, i) => make("option", select, `${one.method}: ${one.label} (${one.model})`, { value: i }));
        select.addEventListener("change", () => this.show(Number(select.value)));
      }
      if (this.sound.trouble) { make("p", this.element, this.sound.trouble, { class: "trouble" }); this.words = make("div", this.element); this.describe(); return; }
      this.picture = make("div", this.element, null, { class: "picture", "aria-hidden": "true" });
      this.map = make("canvas", this.picture, null, { class: "map" });
      this.hand = make("canvas", this.picture, null, { class: "hand" });
      this.picture.addEventListener("click", (event) => {
        const box = this.picture.getBoundingClientRect();
        this.seek(((event.clientX - box.left) / box.width) * this.seconds);
      });
      const axis = make("div", this.element, null, { class: "axis", "aria-hidden": "true" });
      make("span", axis, "0 s"); make("span", axis, `0 to ${(this.sound.rate / 2000).toFixed(1)} kHz, from below`); make("span", axis, `${this.seconds.toFixed(1)} s`);
      const controls = make("div", this.element, null, { class: "controls", role: "group", "aria-label": "Listen" });
      this.play = make("button", controls, "Play", { type: "button", class: "play" });
      this.play.addEventListener("click", () => this.toggle());
      this.buttons = PARTS.map((part, i) => {
        const button = make("button", controls, ["Whole sound", "What was heard", "The rest"][i], { type: "button", class: part, "aria-pressed": part === "whole" });
        button.addEventListener("click", () => this.listen(part));
        return button;
      });
      const label = make("label", controls, "Mask at least ");
      this.slider = make("input", label, null, { type: "range", min: 0, max: 100, value: 0, class: "threshold" });
      this.level = make("output", label, "soft");
      this.slider.addEventListener("input", () => this.harden(this.slider.value / 100));
      this.words = make("div", this.element);
      this.describe();
      this.element.addEventListener("keydown", (event) => this.key(event));
    }

    get seconds() { return this.sound.samples / this.sound.rate; }

    describe() {
      const one = this.variant, scores = one.scores || {};
      this.says.replaceChildren();
      make("span", this.says, one.label, { class: "class" });
      make("span", this.says, ` ${percent(one.probability)}${one.decision === one.label ? "" : `, decided: ${one.decision}`} · ${one.method}`);
      this.words.replaceChildren();
      const bars = make("div", this.words, null, { class: "bars" });
      for (const [name, value] of [["the whole sound", one.probability], ["what was heard, alone", scores.probability_in], ["the rest", scores.probability_out]]) {
        if (value === undefined) continue;
        make("span", bars, `${one.label}: ${name}`);
        const bar = make("div", bars, null, { class: "bar", role: "img", "aria-label": percent(value) });
        make("span", bar).style.width = `${100 * (value || 0)}%`;
        make("span", bars, percent(value));
      }
      make("p", this.words, `${percent(one.kept)} of the picture is kept.${one.trust ? ` ${sentence(one.trust.said)}` : ""}`, { class: "note" });
      const more = make("details", this.words);
      make("summary", more, "All scores");
      const list = make("dl", more);
      for (const [name, meaning] of HOW) {
        if (!(name in scores)) continue;
        make("dt", list, `${name} ${scores[name] === null ? "—" : Number(scores[name].toPrecision(3))}`);
        make("dd", list, meaning);
      }
    }

    // Decoding waits until a sound comes into view, and what is far away is let go of again.
    load() {
      if (this.sound.trouble) return Promise.resolve();
      this.loaded = this.loaded || this.decode();
      return this.loaded;
    }

    // In pieces with a breath between them, so that a page that is scrolled stays smooth.
    async decode() {
      const decoder = new OfflineAudioContext(1, 1, this.sound.rate);
      const buffer = await decoder.decodeAudioData(bytes(this.files.sounds[this.sound.audio]).buffer);
      const samples = buffer.getChannelData(0).slice(0, this.sound.samples);
      const spectrum = analyse(samples, this.sound.spectrogram);
      await breath();
      const mask = await read_mask(this.files.masks[this.variant.mask]);
      await breath();
      Object.assign(this, { samples, spectrum, mask });
      paint(this.map, spectrum, this.keep());
      await breath();
      if (this.spectrum) this.make_sounds();
    }

    unload() {
      if (player.card === this || !this.loaded) return;
      this.loaded = null; this.sounds = null; this.spectrum = null; this.mask = null;
      this.map.width = this.map.height = 1;
    }

    keep() {
      const { mask, threshold } = this;
      return threshold > 0 ? (i) => (mask[i] >= threshold ? 1 : 0) : (i) => mask[i];
    }

    render() {
      paint(this.map, this.spectrum, this.keep());
      this.make_sounds();
    }

    make_sounds() {
      const keep = this.keep(), heard = masked(this.spectrum, keep, this.sound.spectrogram, this.samples.length);
      const rest = this.samples.map((value, i) => value - heard[i]);
      const sounds = {};
      for (const [part, values] of [["whole", this.samples], ["heard", heard], ["rest", rest]]) {
        sounds[part] = new AudioBuffer({ length: Math.max(1, values.length), numberOfChannels: 1, sampleRate: this.sound.rate });
        sounds[part].copyToChannel(values, 0);
      }
      this.sounds = sounds;
      const energy = (values) => values.reduce((sum, value) => sum + value * value, 0);
      this.element.dataset.heard = (energy(heard) / Math.max(1e-12, energy(this.samples))).toFixed(6);
      this.point(player.card === this ? place() : this.offset);
      if (player.card === this) start(this, place());
    }

    async show(index) {
      this.shown = index;
      this.describe();
      if (this.sound.trouble) return;
      await this.load();
      this.mask = await read_mask(this.files.masks[this.variant.mask]);
      this.render();
    }

    async harden(threshold) {
      this.threshold = threshold;
      this.level.textContent = threshold > 0 ? threshold.toFixed(2) : "soft";
      await this.load();
      cancelAnimationFrame(this.pending);
      this.pending = requestAnimationFrame(() => this.spectrum && this.render());
    }

    async toggle() {
      if (player.card === this) { stop(); return; }
      await this.load();
      start(this, this.offset);
    }

    async listen(part) {
      await this.load();
      listen_to(this, part);
      if (player.card !== this) start(this, this.offset);
    }

    async seek(seconds) {
      this.offset = Math.max(0, Math.min(seconds, this.seconds));
      await this.load();
      if (player.card === this) { player.card = null; const at = this.offset; player.nodes.forEach((node) => { node.onended = null; node.stop(); }); player.nodes = []; player.gains = []; start(this, at); }
      else this.point(this.offset);
    }

    key(event) {
      if (["INPUT", "SELECT", "SUMMARY"].includes(event.target.tagName)) return;
      const at = player.card === this ? place() : this.offset;
      const acts = { 1: () => this.listen("whole"), 2: () => this.listen("heard"), 3: () => this.listen("rest"),
        ArrowLeft: () => this.seek(at - 0.25), ArrowRight: () => this.seek(at + 0.25) };
      if (event.target === this.element) acts[" "] = () => this.toggle();
      if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
    }

    refresh() {
      const playing = player.card === this;
      this.play.textContent = playing ? "Pause" : "Play";
      this.element.dataset.playing = playing;
      this.element.dataset.part = this.part;
      PARTS.forEach((part, i) => this.buttons[i].setAttribute("aria-pressed", String(part === this.part)));
    }

    point(seconds) {
      const box = this.hand.getBoundingClientRect(), width = Math.max(1, Math.round(box.width)), height = Math.max(1, Math.round(box.height));
      if (this.hand.width !== width || this.hand.height !== height) { this.hand.width = width; this.hand.height = height; }
      const context = this.hand.getContext("2d"), x = (seconds / this.seconds) * width;
      context.clearRect(0, 0, width, height);
      context.fillStyle = "#ffffff";
      context.fillRect(Math.round(x) - 1, 0, 2, height);
      this.element.dataset.place = seconds.toFixed(3);
    }
  }

  return { Card, make, percent, stop, playing: () => player.card };
})();
