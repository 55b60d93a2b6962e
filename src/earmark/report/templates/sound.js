"use strict";
// From a sound to its spectrum and back, by the transform that the masks live on.
const earmarkSound = (() => {
  function window_of(config) {
    const length = config.win_length, values = new Float32Array(length);
    const [a, b] = config.window === "hann" ? [0.5, 0.5] : [0.54, 0.46];
    for (let n = 0; n < length; n++) values[n] = a - b * Math.cos((2 * Math.PI * n) / length);
    const padded = new Float32Array(config.n_fft);
    padded.set(values, (config.n_fft - length) >> 1);
    return padded;
  }

  // What transforms of a length share: places with their bits reversed, and the turns.
  const TABLES = new Map();
  function tables_of(n) {
    if (!TABLES.has(n)) {
      const places = new Uint32Array(n), cos = new Float64Array(n / 2), sin = new Float64Array(n / 2);
      for (let i = 1; i < n; i++) places[i] = (places[i >> 1] >> 1) | (i & 1 ? n >> 1 : 0);
      for (let k = 0; k < n / 2; k++) { cos[k] = Math.cos((2 * Math.PI * k) / n); sin[k] = Math.sin((2 * Math.PI * k) / n); }
      TABLES.set(n, { places, cos, sin });
    }
    return TABLES.get(n);
  }

  // Radix 2 where the length is a power of two, which all usual transforms have; else the plain sum.
  function transform(real, imag, inverse) {
    const n = real.length;
    if (n & (n - 1)) return plain(real, imag, inverse);
    const { places, cos, sin } = tables_of(n), sign = inverse ? 1 : -1;
    for (let i = 0; i < n; i++) {
      const j = places[i];
      if (i < j) {
        const re = real[i], im = imag[i];
        real[i] = real[j]; imag[i] = imag[j];
        real[j] = re; imag[j] = im;
      }
    }
    for (let size = 2; size <= n; size <<= 1) {
      const half = size >> 1, step = n / size;
      for (let first = 0; first < n; first += size)
        for (let k = 0; k < half; k++) {
          const i = first + k, j = i + half, c = cos[k * step], s = sign * sin[k * step];
          const re = real[j] * c - imag[j] * s, im = real[j] * s + imag[j] * c;
          real[j] = real[i] - re; imag[j] = imag[i] - im;
          real[i] += re; imag[i] += im;
        }
    }
  }

  function plain(real, imag, inverse) {
    const n = real.length, re = new Float64Array(n), im = new Float64Array(n), turn = ((inverse ? 2 : -2) * Math.PI) / n;
    for (let k = 0; k < n; k++)
      for (let t = 0; t < n; t++) {
        const c = Math.cos(turn * ((k * t) % n)), s = Math.sin(turn * ((k * t) % n));
        re[k] += real[t] * c - imag[t] * s;
        im[k] += real[t] * s + imag[t] * c;
      }
    real.set(re); imag.set(im);
  }

  function analyse(sound, config) {
    const { n_fft, hop_length } = config, win = window_of(config), half = n_fft >> 1;
    const bins = half + 1, frames = Math.floor(sound.length / hop_length) + 1;
    const re = new Float32Array(bins * frames), im = new Float32Array(bins * frames);
    const real = new Float64Array(n_fft), imag = new Float64Array(n_fft);
    for (let f = 0; f < frames; f++) {
      const first = f * hop_length - half;
      for (let n = 0; n < n_fft; n++) {
        let at = first + n;
        if (config.pad === "reflect") at = at < 0 ? -at : at >= sound.length ? 2 * sound.length - 2 - at : at;
        real[n] = at >= 0 && at < sound.length ? sound[at] * win[n] : 0;
        imag[n] = 0;
      }
      transform(real, imag, false);
      for (let k = 0; k < bins; k++) { re[f * bins + k] = real[k]; im[f * bins + k] = imag[k]; }
    }
    return { re, im, bins, frames };
  }

  function masked(spectrum, keep, config, samples) {
    const { n_fft, hop_length } = config, win = window_of(config), half = n_fft >> 1, { bins, frames } = spectrum;
    const sum = new Float32Array(samples), weight = new Float32Array(samples);
    const real = new Float64Array(n_fft), imag = new Float64Array(n_fft);
    for (let f = 0; f < frames; f++) {
      const from = f * bins;
      for (let k = 0; k < bins; k++) {
        const share = keep(from + k), at = n_fft - k;
        real[k] = spectrum.re[from + k] * share; imag[k] = spectrum.im[from + k] * share;
        if (k && k < half) { real[at] = real[k]; imag[at] = -imag[k]; }
      }
      transform(real, imag, true);
      const first = f * hop_length - half;
      for (let n = 0; n < n_fft; n++) {
        const at = first + n;
        if (at < 0 || at >= samples || !win[n]) continue;
        sum[at] += (real[n] / n_fft) * win[n];
        weight[at] += win[n] * win[n];
      }
    }
    for (let n = 0; n < samples; n++) sum[n] = weight[n] > 1e-8 ? sum[n] / weight[n] : 0;
    return sum;
  }

  return { analyse, masked };
})();
