"use strict";
// AudioLDM: from noise to a log-mel under a CLAP embedding, v2a_utils.models.audioldm.

// DPM-Solver++(2M), the second-order multistep solver (Lu et al. 2022, arXiv 2211.01095, algorithm 2), on "trailing"
// times and with a first-order last step, as diffusers' DPMSolverMultistepScheduler takes it.
class DpmSolver {
  // sigmas: noise over signal at each of the trained times. predicts: "sample", "v_prediction" or "epsilon".
  constructor(sigmas, predicts, steps) {
    const spacing = sigmas.length / steps;
    this.times = Array.from({length: steps}, (_, i) => halfEven(sigmas.length - i * spacing) - 1);
    this.sigmas = [...this.times.map(time => sigmas[time]), 0];
    this.predicts = predicts;
  }

  // The clean signal that a prediction means: variance-preserving, x = alpha clean + sigma noise.
  clean(predicted, noisy, step) {
    const [alpha, sigma] = DpmSolver.parts(this.sigmas[step]);
    return predicted.map((value, i) =>
      this.predicts === "sample"
        ? value
        : this.predicts === "v_prediction"
          ? alpha * noisy[i] - sigma * value
          : (noisy[i] - sigma * value) / alpha,
    );
  }

  static parts(ratio) {
    // alpha, sigma and half the log of the signal-to-noise ratio
    const alpha = 1 / Math.sqrt(ratio * ratio + 1);
    return [alpha, ratio * alpha, -Math.log(ratio)];
  }

  // One step from `noisy`, given the clean signal's prediction now and the one before (null at the first step).
  step(noisy, clean, before, step) {
    const [, sigma, lambda] = DpmSolver.parts(this.sigmas[step]);
    const [alphaNext, sigmaNext, lambdaNext] = DpmSolver.parts(this.sigmas[step + 1]);
    const h = lambdaNext - lambda,
      grow = -alphaNext * Math.expm1(-h),
      last = step === this.times.length - 1;
    const ratio = before && !last ? (lambda - DpmSolver.parts(this.sigmas[step - 1])[2]) / h : Infinity;
    return noisy.map((value, i) => {
      const trend = ratio === Infinity ? 0 : (clean[i] - before[i]) / ratio;
      return (sigmaNext / sigma) * value + grow * (clean[i] + 0.5 * trend);
    });
  }

  // All steps; predict(noisy, time) is asked at each, and seen(noisy, clean, step) told. It may answer false to stop.
  async walk(noisy, predict, seen) {
    let before = null;
    for (let step = 0; step < this.times.length; step++) {
      const clean = this.clean(await predict(noisy, this.times[step]), noisy, step);
      noisy = this.step(noisy, clean, before, step);
      before = clean;
      if ((await seen(noisy, clean, step + 1)) === false) return clean;
    }
    return noisy;
  }
}

// The UNet under classifier-free guidance (Ho and Salimans 2022): null + scale (conditional - null), as one pair.
async function guided(latents, time, mapped, guidance) {
  const pair = guidance === 1 ? 1 : 2,
    size = latents.length;
  const twice = new Float32Array(pair * size),
    labels = new Float32Array(pair * mapped.length);
  for (let i = 0; i < pair; i++) twice.set(latents, i * size);
  labels.set(tensors.nullEmbedding.values);
  labels.set(mapped, (pair - 1) * mapped.length);
  const predicted = await run("unet", {
    latents: [twice, [pair, ...config.latents]],
    time: [[time], [1]],
    labels: [labels, [pair, mapped.length]],
  });
  if (pair === 1) return predicted;
  return latents.map((_, i) => predicted[i] + guidance * (predicted[size + i] - predicted[i]));
}

// Noise -> scaled latents. seen(latents, clean, step) is told of every step; false from it stops at what is clean now.
function denoise(noise, mapped, {steps, guidance}, seen) {
  const solver = new DpmSolver(tensors.sigmas.values, config.predicts, steps);
  return solver.walk(noise, (latents, time) => guided(latents, time, mapped, guidance), seen);
}

// Scaled latents -> log-mel in nats, frame after frame.
const decode = latents => run("vae", {latents: [latents, [1, ...config.latents]]});
