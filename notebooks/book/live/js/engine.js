"use strict";
// The worker: it holds the networks and answers the page's questions one after the other, so that the page stays alive.

let config,
  tensors,
  banks,
  stopping = false;
const sessions = {},
  jobs = {};

// A network by name on named inputs, [numbers, shape] each -> its answer.
async function run(name, inputs, output = "answer") {
  const session = sessions[name],
    feeds = {};
  for (const input of session.inputNames) {
    const [values, shape] = inputs[input];
    feeds[input] =
      input === "time"
        ? new ort.Tensor("int64", BigInt64Array.from(values, BigInt), shape)
        : new ort.Tensor("float32", Float32Array.from(values), shape);
  }
  return (await session.run(feeds, [output]))[output].data;
}

const breath = () => new Promise(resolve => setTimeout(resolve)); // lets a message in that waits

jobs.begin = async ({settings, numbers, wasm, loader}) => {
  config = settings;
  tensors = readTensors(numbers);
  banks = {vocoder: new MelBank(tensors.vocoderFilters)};
  if (config.tagger) banks.tagger = new MelBank(tensors.taggerFilters);
  ort.env.wasm.numThreads = 1; // more need headers that a file has not
  ort.env.wasm.wasmBinary = wasm.buffer;
  ort.env.wasm.wasmPaths = {mjs: URL.createObjectURL(new Blob([loader], {type: "text/javascript"}))};
};

jobs.open = async ({name, bytes}) => {
  sessions[name] = await ort.InferenceSession.create(bytes, {executionProviders: ["wasm"], enableCpuMemArena: false});
};

// A picture -> its embedding, how far it is from the pictures that the mapper learned from, and its nearest words.
jobs.see = async ({picture}) => {
  const visual = await embedPicture(picture),
    far = distance(visual);
  return {visual, distance: far, strange: far > config.familiarLimit, words: nearestWords(visual)};
};

jobs.map = ({visual, ...settings}) => mapEmbedding(Float32Array.from(visual), settings);

// A picture of the reader's -> whether it is drawn; if not, what the classifiers see in it, and a sound's embedding
// where SoundWorld has a sound for it.
jobs.photograph = async ({picture, distance, seed}) => {
  if (await isDrawn(picture, distance / config.familiarLimit)) return {drawn: true};
  const seen = await classified(picture);
  return {...seen, mapped: seen.known ? drawnSound(seen.best, (seed + contentOf(picture)) % 2 ** 32) : null};
};

// A CLAP embedding -> a sound. Every step is reported, with the mel of the noisy latents where there is time.
jobs.make = async ({mapped, seed, noise, preview = true, ...settings}, report) => {
  stopping = false;
  const size = config.latents.reduce((a, b) => a * b, 1),
    started = performance.now();
  noise = noise ?? rowGenerator(seed).normal(size);
  const guesses = [];
  let shown = 0;
  if (preview) report({step: 0, mel: await decode(noise)});
  const latents = await denoise(noise, Float32Array.from(mapped), settings, async (noisy, clean, step) => {
    guesses.push(clean);
    const begun = performance.now(),
      late = shown > config.previewShare * (begun - started);
    report({step, mel: preview && !late && step < settings.steps ? await decode(noisy) : null});
    shown += performance.now() - begun;
    await breath();
    return !stopping;
  });
  return {...(await sounded(latents)), latents, guesses, steps: guesses.length};
};

jobs.stop = async () => {
  stopping = true;
};

// Latents -> mel, wave at the common loudness, and what the tagger hears.
async function sounded(latents) {
  const mel = await decode(latents),
    raw = await vocode(mel);
  const wave = raw.subarray(0, Math.round(config.seconds * config.sampleRate));
  return {mel, wave: evened(wave), heard: config.tagger ? await listen(wave) : []};
}
jobs.sound = ({latents}) => sounded(latents);
jobs.listen = async ({wave}) => listen(wave);

let last = Promise.resolve();
self.onmessage = ({data: {id, job, values}}) => {
  const report = progress => self.postMessage({id, progress});
  const answer = async () => {
    try {
      self.postMessage({id, answer: await jobs[job](values, report)});
    } catch (error) {
      self.postMessage({id, error: String(error?.message ?? error)});
    }
  };
  if (job === "stop") answer();
  else last = last.then(answer);
};
