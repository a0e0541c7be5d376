"use strict";
// From CLIP's space to CLAP's, v2a_utils.mappers: a regression, a diffusion, a flow, the bridge over words, or nothing.

// -> {mapped: unit-norm CLAP embedding, way: what it was after every step}
async function mapEmbedding(visual, {mapper, seed, mapperSteps}) {
  if (mapper === "none") return {mapped: visual, way: []};
  if (mapper === "words") return {mapped: overWords(visual), way: []};
  const {kind, temperature} = config.mappers[mapper],
    shape = [1, visual.length];
  if (kind === "regression") return {mapped: await run(mapper, {visual: [visual, shape]}), way: []};
  const noise = rowGenerator(seed, config.mapperSalt)
    .normal(config.audioDim)
    .map(value => value * temperature);
  const guess = (noisy, time) =>
    run(mapper, {noisy: [noisy, [1, noisy.length]], time: [[time], [1]], visual: [visual, shape]});
  const way = [];
  const seen = (noisy, clean) => {
    way.push(unit(clean));
  };
  const solve = kind === "flow" ? straightWalk : diffusionWalk;
  return {mapped: unit(await solve(noise, mapperSteps, guess, seen)), way};
}

// The DALL-E 2 prior's sampling (arXiv 2204.06125, section 2.2) by DPM-Solver++, from noise to a clean embedding.
function diffusionWalk(noise, steps, guess, seen) {
  return new DpmSolver(tensors.mapperSigmas.values, "sample", steps).walk(noise, guess, seen);
}

// Rectified flow (arXiv 2209.03003): straight steps along the velocity, noise minus clean, from share 1 of noise to 0.
async function straightWalk(noise, steps, guess, seen) {
  let noisy = Float32Array.from(noise);
  for (let step = 0; step < steps; step++) {
    const share = 1 - step / steps,
      time = halfEven(share * config.trainSteps) - 1;
    const clean = await guess(noisy, time);
    noisy = noisy.map((value, i) => value - (value - clean[i]) / share / steps);
    seen(noisy, clean);
  }
  return noisy;
}

// The bridge over words in its form "mean": CLIP's shares of sentences, times the sounds that each stands for.
function overWords(visual) {
  const {seen, answers} = tensors,
    {visualScale} = config.words;
  const logits = Array.from(
    {length: seen.shape[0]},
    (_, i) => visualScale * dot(visual, seen.values, i * visual.length),
  );
  const mapped = new Float32Array(config.audioDim);
  softmax(logits).forEach((share, i) =>
    rowOf(answers, i).forEach((value, d) => {
      mapped[d] += share * value;
    }),
  );
  return unit(mapped);
}

// For a photograph of a class, the bridge in its form "draw": one of the sounds that the class's name stands for, with
// CLAP's p(sound | name).
function drawnSound(number, seed) {
  const random = rowGenerator(seed, config.mapperSalt),
    weights = rowOf(tensors.soundsOfClass, number);
  let left = random.uniform() * weights.reduce((a, b) => a + b, 0);
  const found = weights.findIndex(weight => (left -= weight) < 0);
  return Float32Array.from(rowOf(tensors.sounds, found < 0 ? weights.length - 1 : found));
}
