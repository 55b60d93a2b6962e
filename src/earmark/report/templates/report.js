// The page of `earmark report`: the sounds that are in it, and how to find some among them.
(() => {
  const { Card, make, stop, playing } = earmark;
  const page = JSON.parse(document.getElementById("data").textContent);
  const cards = page.list.map((sound, index) => new Card(sound, index, page, document.getElementById("sounds")));
  const labels = [...new Set(page.list.flatMap((sound) => sound.variants.map((one) => one.label)))].sort();
  const control = (id) => document.getElementById(id);
  labels.forEach((label) => make("option", control("class"), label, { value: label }));
  const RANKS = ["not", "partly", "well"];
  const trust = (card) => (card.variant.trust ? RANKS.indexOf(card.variant.trust.level) : -1);
  const sure = (card) => card.variant.probability || 0;
  const ORDERS = {
    name: (a, b) => a.sound.name.localeCompare(b.sound.name, undefined, { numeric: true }),
    sure: (a, b) => sure(b) - sure(a), unsure: (a, b) => sure(a) - sure(b),
    trust: (a, b) => trust(b) - trust(a), doubt: (a, b) => trust(a) - trust(b),
    kept: (a, b) => (a.variant.kept || 0) - (b.variant.kept || 0),
  };

  function filter() {
    const words = control("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const label = control("class").value, least = control("least").value / 100, wanted = control("trust").value;
    control("least-value").textContent = `${control("least").value} %`;
    let count = 0;
    for (const card of [...cards].sort(ORDERS[control("sort").value])) {
      const said = [card.sound.name, ...card.sound.variants.flatMap((one) => [one.label, one.method, one.model])].join(" ").toLowerCase();
      const level = card.variant.trust ? card.variant.trust.level : "none";
      const fits = words.every((word) => said.includes(word)) && (!label || card.sound.variants.some((one) => one.label === label))
        && sure(card) >= least && (!wanted || level === wanted);
      card.element.hidden = !fits;
      if (!fits && playing() === card) stop();
      count += fits;
      card.element.parentNode.append(card.element);
    }
    control("count").textContent = `${count} of ${cards.length} sounds`;
  }
  for (const id of ["search", "class", "sort", "least", "trust"]) control(id).addEventListener("input", filter);
  control("tools").addEventListener("submit", (event) => event.preventDefault());
  filter();

  // Sounds are made ready one at a time, and only where the page has come to rest for a moment.
  const REST = 150; // milliseconds
  let line = Promise.resolve();
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const card = cards.find((one) => one.element === entry.target);
      clearTimeout(card.timer);
      if (entry.isIntersecting) card.timer = setTimeout(() => { card.wanted = true; line = line.then(() => ready(card)); }, REST);
      else { card.wanted = false; card.unload(); }
    }
  }, { rootMargin: "600px" });

  async function ready(card) {
    if (!card.wanted) return;
    try { await card.load(); } catch (error) { card.loaded = null; make("p", card.element, `cannot be played: ${error.message}`, { class: "trouble" }); }
  }
  for (const card of cards) if (!card.sound.trouble) near.observe(card.element);
})();
