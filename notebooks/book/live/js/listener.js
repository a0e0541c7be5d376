"use strict";
// What is done with a wave: the tagger hears it, its loudness is evened, it becomes a file.

// Log-mel power in dB as PANNs compute it, v2a_utils.models.mel.LogMelPower -> frame after frame.
function logMelPower(wave) {
  const {n_fft, hop} = config.tagger,
    bank = banks.tagger;
  const {real, imaginary} = new ShortTime(n_fft, hop).analyse(wave);
  const power = real.map((value, i) => value * value + imaginary[i] * imaginary[i]);
  const frames = power.length / bank.bins,
    levels = new Float32Array(frames * bank.mels);
  for (let frame = 0; frame < frames; frame++) {
    const heard = bank.hear(power, frame * bank.bins);
    for (let i = 0; i < bank.mels; i++) levels[frame * bank.mels + i] = 10 * Math.log10(Math.max(heard[i], 1e-10));
  }
  return levels;
}

// What a listener hears in a wave: the tagger's three likeliest classes with their probabilities.
async function listen(wave) {
  const levels = logMelPower(wave),
    {mels} = banks.tagger;
  const logits = await run("tagger", {log_mels: [levels, [1, 1, levels.length / mels, mels]]});
  return largest(softmax(logits), 3).map(([i, share]) => [config.tagger.names[i], share]);
}

// The wave at the loudness that all sounds of the package share, v2a_utils.data.audio.even_loudness.
function evened(wave) {
  const block = 800,
    blocks = Math.max(Math.floor(wave.length / block), 1),
    powers = [];
  for (let i = 0; i < blocks; i++) {
    const part = wave.subarray(i * block, (i + 1) * block);
    powers.push(Math.sqrt(dot(part, part) / part.length));
  }
  const sorted = [...powers].sort((a, b) => a - b),
    place = 0.7 * (blocks - 1),
    low = Math.floor(place);
  const quantile = sorted[low] + (place - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
  const loud = powers.filter(power => power >= quantile);
  const level = 20 * Math.log10(Math.max(Math.sqrt(dot(loud, loud) / loud.length), 1e-6));
  if (level <= -120) return wave;
  const peak = wave.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const gain = Math.min(10 ** ((config.loudness - level) / 20), 0.99 / peak);
  return wave.map(value => value * gain);
}
