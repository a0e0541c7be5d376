"use strict";
// From log-mel to wave, v2a_utils.models.vocoder: the mel equation, then the fast Griffin-Lim iteration.

// A fast Fourier transform of n complex numbers, n a power of two (Cooley and Tukey 1965), in place.
class Fourier {
  constructor(n) {
    this.n = n;
    this.cosines = Float64Array.from({length: n / 2}, (_, i) => Math.cos((2 * Math.PI * i) / n));
    this.sines = Float64Array.from({length: n / 2}, (_, i) => Math.sin((2 * Math.PI * i) / n));
    this.reversed = new Uint32Array(n);
    for (let i = 1; i < n; i++) this.reversed[i] = (this.reversed[i >> 1] >> 1) | (i & 1 ? n >> 1 : 0);
  }

  // sign -1 there, +1 back (not divided by n)
  transform(real, imaginary, sign) {
    const {n, cosines, sines, reversed} = this;
    for (let i = 0; i < n; i++) {
      const j = reversed[i];
      if (j <= i) continue;
      let swap = real[i];
      real[i] = real[j];
      real[j] = swap;
      swap = imaginary[i];
      imaginary[i] = imaginary[j];
      imaginary[j] = swap;
    }
    for (let half = 1; half < n; half *= 2) {
      const stride = n / (2 * half);
      for (let start = 0; start < n; start += 2 * half) {
        for (let k = 0; k < half; k++) {
          const c = cosines[k * stride],
            s = sign * sines[k * stride],
            a = start + k,
            b = a + half;
          const x = real[b] * c - imaginary[b] * s,
            y = real[b] * s + imaginary[b] * c;
          real[b] = real[a] - x;
          imaginary[b] = imaginary[a] - y;
          real[a] += x;
          imaginary[a] += y;
        }
      }
    }
  }
}

// Short-time Fourier transforms with a Hann window; spectra are {real, imaginary}, frame after frame of n / 2 + 1 bins.
// Two frames share a transform: one is its real part, the other its imaginary part.
class ShortTime {
  constructor(n, hop) {
    Object.assign(this, {n, hop, bins: n / 2 + 1, fourier: new Fourier(n)});
    this.window = Float64Array.from({length: n}, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / n));
    this.a = new Float64Array(n);
    this.b = new Float64Array(n);
  }

  // Centred frames of a wave, its ends mirrored.
  analyse(wave) {
    const {n, hop, bins, window, a, b} = this,
      frames = Math.floor(wave.length / hop) + 1,
      last = wave.length - 1;
    const real = new Float32Array(frames * bins),
      imaginary = new Float32Array(frames * bins);
    const sample = i => wave[i < 0 ? -i : i > last ? 2 * last - i : i];
    for (let frame = 0; frame < frames; frame += 2) {
      const start = frame * hop - n / 2,
        two = frame + 1 < frames;
      for (let i = 0; i < n; i++) {
        a[i] = window[i] * sample(start + i);
        b[i] = two ? window[i] * sample(start + hop + i) : 0;
      }
      this.fourier.transform(a, b, -1);
      for (let k = 0; k < bins; k++) {
        const m = (n - k) % n,
          at = frame * bins + k;
        real[at] = (a[k] + a[m]) / 2;
        imaginary[at] = (b[k] - b[m]) / 2;
        if (two) {
          real[at + bins] = (b[k] + b[m]) / 2;
          imaginary[at + bins] = (a[m] - a[k]) / 2;
        }
      }
    }
    return {real, imaginary};
  }

  // Overlap-add of windowed frames, divided by the windows' own sum of squares; half a window is cut at both ends.
  synthesise({real, imaginary}) {
    const {n, hop, bins, window, a, b} = this,
      frames = real.length / bins;
    const whole = new Float64Array((frames - 1) * hop + n),
      envelope = new Float64Array(whole.length);
    for (let frame = 0; frame < frames; frame += 2) {
      const two = frame + 1 < frames;
      for (let k = 0; k < bins; k++) {
        const at = frame * bins + k,
          edge = k === 0 || k === n / 2,
          m = (n - k) % n;
        const r = real[at],
          s = edge ? 0 : imaginary[at];
        const u = two ? real[at + bins] : 0,
          v = two && !edge ? imaginary[at + bins] : 0;
        a[k] = r - v;
        b[k] = s + u;
        a[m] = r + v;
        b[m] = u - s;
      }
      this.fourier.transform(a, b, 1);
      for (let i = 0; i < n; i++) {
        const first = frame * hop + i,
          square = window[i] * window[i];
        whole[first] += (window[i] * a[i]) / n;
        envelope[first] += square;
        if (two) {
          whole[first + hop] += (window[i] * b[i]) / n;
          envelope[first + hop] += square;
        }
      }
    }
    const wave = new Float32Array((frames - 1) * hop);
    for (let i = 0; i < wave.length; i++) wave[i] = whole[i + n / 2] / Math.max(envelope[i + n / 2], 1e-8);
    return wave;
  }
}

// A mel filter bank without its zeros, from a dense matrix (mels, bins).
class MelBank {
  constructor({shape: [mels, bins], values}) {
    Object.assign(this, {mels, bins, reach: new Float64Array(bins), entries: []});
    for (let bin = 0; bin < bins; bin++)
      for (let mel = 0; mel < mels; mel++) {
        const weight = values[mel * bins + bin];
        if (weight) this.entries.push([bin, mel, weight]);
        this.reach[bin] += weight;
      }
    for (let bin = 0; bin < bins; bin++) this.reach[bin] = Math.max(this.reach[bin], 1e-6);
  }

  // Magnitudes or powers (bins of one frame, from `offset`) -> mels.
  hear(spectrum, offset) {
    const heard = new Float64Array(this.mels);
    for (const [bin, mel, weight] of this.entries) heard[mel] += weight * spectrum[offset + bin];
    return heard;
  }

  // One multiplicative update for the Kullback-Leibler divergence (Lee and Seung 2001): `magnitude` becomes louder
  // where the magnitudes `heard` have less than the mel asks for, at most tenfold, and softer where they have more.
  scale(magnitude, heard, mel) {
    const {mels, bins, reach, entries} = this,
      frames = magnitude.length / bins,
      scaled = new Float32Array(magnitude.length);
    for (let frame = 0; frame < frames; frame++) {
      const lacking = this.hear(heard, frame * bins);
      for (let i = 0; i < mels; i++)
        lacking[i] = Math.min(mel[frame * mels + i] / (lacking[i] + 1e-9), config.vocoder.most);
      const factor = new Float64Array(bins);
      for (const [bin, i, weight] of entries) factor[bin] += weight * lacking[i];
      for (let bin = 0; bin < bins; bin++)
        scaled[frame * bins + bin] = (magnitude[frame * bins + bin] * factor[bin]) / reach[bin];
    }
    return scaled;
  }
}

// The STFT magnitudes whose log-mel comes near the given one: the network's guess, then the updates.
async function magnitudes(logMel, bank) {
  const mel = logMel.map(Math.exp),
    shape = [1, logMel.length / bank.mels, bank.mels];
  let magnitude = await run("vocoder", {log_mels: [logMel, shape]});
  for (let i = 0; i < config.vocoder.updates; i++) magnitude = bank.scale(magnitude, magnitude, mel);
  return magnitude;
}

// Fast Griffin-Lim (Perraudin et al. 2013) from zero phases; every `rescale_every` turns the magnitudes are scaled to
// the mel that the wave itself lacks.
function griffinLim(magnitude, mel, bank) {
  const {n_fft, hop, iterations, momentum, rescale_every} = config.vocoder,
    shortTime = new ShortTime(n_fft, hop);
  const step = momentum / (1 + momentum),
    size = magnitude.length;
  let spectrum = {real: magnitude, imaginary: new Float32Array(size)};
  let before = {real: new Float32Array(size), imaginary: new Float32Array(size)};
  for (let turn = 0; turn < iterations; turn++) {
    const rebuilt = shortTime.analyse(shortTime.synthesise(spectrum));
    if (rescale_every && turn && turn % rescale_every === 0) {
      const heard = rebuilt.real.map((value, i) => Math.hypot(value, rebuilt.imaginary[i]));
      magnitude = bank.scale(magnitude, heard, mel);
    }
    const real = new Float32Array(size),
      imaginary = new Float32Array(size);
    for (let i = 0; i < size; i++) {
      const x = rebuilt.real[i] - step * before.real[i],
        y = rebuilt.imaginary[i] - step * before.imaginary[i];
      const length = Math.sqrt(x * x + y * y),
        factor = length ? magnitude[i] / length : 0;
      real[i] = factor * x;
      imaginary[i] = factor * y;
    }
    spectrum = {real, imaginary};
    before = rebuilt;
  }
  return shortTime.synthesise(spectrum);
}

// Log-mel (frames x mels) -> wave. Centred frames are one more than whole hops: the last is said twice.
async function vocode(logMel) {
  const bank = banks.vocoder,
    padded = new Float32Array(logMel.length + bank.mels);
  padded.set(logMel);
  padded.set(logMel.subarray(logMel.length - bank.mels), logMel.length);
  return griffinLim(await magnitudes(padded, bank), padded.map(Math.exp), bank);
}
