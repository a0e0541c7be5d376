"use strict";
// The page: what is chosen, what is being made, what is shown.

let settings, engine, worldMap, drawings;
let chosen = null; // {picture: pixels, image: address, name, label or null, own: whether it is the reader's}
let sound = null; // the last sound, with everything that it was made from
let begun; // the worker with its runtime, a promise; `loaded` is there from then on
let choosing; // the drawing chosen last is being unpacked, a promise
let beside = null; // a stop's own small picture of the sound that is being made
let crossing = null; // what the map shows of the reader's picture
let busy = false,
  loaded, // name of a network -> promise; `all`: of all that a sound needs
  opening = "Opening the page …"; // what was last said of it, and may be said over

const TRIED = 3; // answers that stay under a stop
const NETWORKS = {clip: "CLIP", unet: "the UNet", vae: "the decoder", vocoder: "the vocoder", tagger: "the listener"};
const LEVELS = {
  size: ["small", "medium", "large"],
  count: ["one", "two", "three"],
  distance: ["near", "some way off", "far"],
};

function say(text, warn = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("warn", warn);
}

// Of the models that are opened meanwhile, where nothing else was said to the reader.
function sayOpening(text) {
  if (!busy && byId("status").textContent === opening) say((opening = text));
}

const progress = share => {
  byId("progress").value = share;
};

// ------------------------------------------------------------------------------------------------------- opening

async function showPictures() {
  settings = JSON.parse(readText(await asset("settings")));
  fillControls();
  drawings = readTensors(await asset("drawings"));
  listenToControls();
  fillStrip();
  await choose(Math.floor(Math.random() * settings.classes.length));
}

async function beginEngine() {
  engine = new Engine(readText(await asset("engine")));
  const [wasm, numbers, loader] = [await asset("wasm"), await asset("numbers"), readText(await asset("loader"))];
  await engine.ask("begin", {settings, numbers, wasm, loader}, null, [wasm.buffer, numbers.buffer]);
}

// Open every network, in the order in which a sound needs them; each is a promise in `loaded`. The page unpacks the
// next while the worker opens the last.
function openNetworks() {
  const names = [
    "clip",
    ...Object.keys(settings.mappers),
    "unet",
    "vae",
    "vocoder",
    ...(settings.tagger ? ["tagger"] : []),
  ];
  let unpacked = Promise.resolve(),
    before = Promise.resolve();
  loaded = {};
  names.forEach((name, i) => {
    const content = (unpacked = unpacked.then(() => asset(name)));
    loaded[name] = before = before.then(async () => {
      sayOpening(
        `Opening ${NETWORKS[name] ?? `the ${name} mapper`}: ${i + 1} of ${names.length}. You may press already.`,
      );
      await open(name, await content);
      if (!busy) progress((i + 1) / names.length);
    });
  });
  loaded.all = before;
}

const open = (name, bytes) => engine.ask("open", {name, bytes}, null, [bytes.buffer]);

// The classifiers of photographs are opened with the first picture that is no drawing of the strip.
const openPhoto = () =>
  (loaded.photo ??= (async () => {
    for (let i = 0; i < settings.photo.fits.length; i++) await open(`photo${i}`, await asset(`photo${i}`));
  })());

async function openMap() {
  const tensors = readTensors(await asset("map"));
  worldMap = new WorldMap(byId("map"), tensors, settings.map.labels, settings.classes);
  worldMap.highlight(chosen.label);
  new Game(worldMap, (visual, seed) =>
    queue(async () => {
      await loaded.all;
      const options = {mapper: settings.choices[0], seed, mapperSteps: settings.mappers[settings.choices[0]]?.steps};
      const {mapped} = await engine.ask("map", {visual, ...options});
      return engine.ask("make", {mapped, seed, steps: settings.steps, guidance: settings.guidance, preview: false});
    }),
  );
  if (crossing) worldMap.show(...crossing);
}

// What runs one after the other: the reader's sounds and the game's.
let last = Promise.resolve();
function queue(task) {
  const own = last.then(task);
  last = own.catch(() => {});
  return own;
}

// ------------------------------------------------------------------------------------------------------ choosing

function fillControls() {
  byId("mapper").append(...settings.choices.map(name => new Option(name === "none" ? "none: the gap" : name, name)));
  byId("steps").value = settings.steps;
  byId("guidance").value = settings.guidance;
  byId("mel-end").textContent = `${settings.seconds} s`;
  byId("millions").textContent = settings.millions;
  byId("photo-credit").hidden = !settings.photo;
  showMapperSteps();
}

function showMapperSteps() {
  const {steps} = settings.mappers[byId("mapper").value] ?? {};
  byId("mapper-steps-row").hidden = !steps;
  if (steps) byId("mapper-steps").value = steps;
}

function fillStrip() {
  byId("strip").append(
    ...settings.classes.map(({label}, number) => {
      const button = Object.assign(document.createElement("button"), {type: "button", title: label});
      button.setAttribute("role", "radio");
      button.setAttribute("aria-label", label);
      button.append(Object.assign(new Image(), {src: drawingAddress(number, 1, 0, 0), alt: ""}));
      button.onclick = () => choose(number);
      return button;
    }),
  );
  byId("strip").onkeydown = event => {
    const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
    if (!step) return;
    event.preventDefault();
    const buttons = [...byId("strip").children],
      now = buttons.indexOf(document.activeElement);
    const next = buttons[(now + step + buttons.length) % buttons.length];
    next.focus();
    next.click();
  };
}

function drawingAddress(...levels) {
  const drawing = drawings[levels.join(" ")];
  return (drawing.address ??= URL.createObjectURL(new Blob([drawing.values], {type: "image/webp"})));
}

const choose = number => (choosing = chooseDrawing(number));

async function chooseDrawing(number) {
  const [size, count, distance] = ["size", "count", "distance"].map(name => Number(byId(name).value));
  const {label, plural, name} = settings.classes[number],
    image = new Image();
  image.src = drawingAddress(number, size, count, distance);
  [...byId("strip").children].forEach((button, i) => {
    button.setAttribute("aria-checked", i === number);
    button.tabIndex = i === number ? 0 : -1;
  });
  for (const scale of Object.keys(LEVELS)) {
    const word = LEVELS[scale][Number(byId(scale).value)];
    byId(`${scale}-word`).textContent = word;
    byId(scale).setAttribute("aria-valuetext", word);
  }
  await image.decode();
  const what = `${LEVELS.count[count]} ${count ? plural : label}, ${LEVELS.size[size]}, ${LEVELS.distance[distance]}`;
  take({
    ...pixelsOf(image, image.naturalWidth, image.naturalHeight),
    image: image.src,
    name,
    what,
    label: number,
    own: false,
  });
}

function take(picture) {
  chosen = picture;
  Object.assign(byId("picture"), {src: picture.image, alt: `The chosen picture: ${picture.what}`});
  byId("strip").parentNode.querySelector(".sliders").setAttribute("aria-disabled", picture.own);
  if (picture.own) for (const button of byId("strip").children) button.setAttribute("aria-checked", false);
  worldMap?.highlight(picture.label);
}

const numberOfChosen = () => chosen.label ?? 0;

async function takeFile(file) {
  if (!file) return;
  const name = `“${file.name}”`;
  try {
    take({...(await pixelsOfFile(file, name)), name: "photograph", what: file.name, label: null, own: true});
    say(`${name} is here. Press the button to hear it.`);
  } catch (error) {
    say(error.message, true);
  }
}

async function openCamera() {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: "environment"}});
    byId("video").srcObject = stream;
    byId("viewfinder").hidden = false;
    await byId("video").play();
    byId("shoot").focus();
  } catch {
    say(
      "This browser gives the page no camera here. Take a picture with your camera's own program and choose its file.",
      true,
    );
  }
}

function closeCamera() {
  for (const track of byId("video").srcObject?.getTracks() ?? []) track.stop();
  byId("video").srcObject = null;
  byId("viewfinder").hidden = true;
  byId("camera").focus();
}

function shoot() {
  const video = byId("video");
  take({
    ...pixelsOf(video, video.videoWidth, video.videoHeight),
    name: "camera",
    what: "a picture from the camera",
    label: null,
    own: true,
  });
  closeCamera();
  say("The picture is taken. Press the button to hear it.");
}

// A picture of noise, from the seed: nothing that anybody drew.
function takeNoise() {
  const side = 128,
    canvas = Object.assign(document.createElement("canvas"), {width: side, height: side});
  const context = canvas.getContext("2d"),
    image = context.createImageData(side, side),
    random = rowGenerator(readSettings().seed);
  image.data.forEach((_, i) => {
    image.data[i] = i % 4 === 3 ? 255 : 256 * random.uniform();
  });
  context.putImageData(image, 0, 0);
  take({
    ...pixelsOf(canvas, side, side),
    image: canvas.toDataURL(),
    name: "noise",
    what: "noise",
    label: null,
    own: true,
    anyway: true, // it gets a sound, meaningless as it is
  });
}

// -------------------------------------------------------------------------------------------------------- making

// A field's number, kept within its limits; what is no number becomes `usual`.
function numberIn(id, usual) {
  const field = byId(id),
    value = field.value === "" ? NaN : Number(field.value);
  const whole = field.step === "" ? Math.round(value) : value;
  field.value = Number.isFinite(value) ? Math.min(Math.max(whole, Number(field.min)), Number(field.max)) : usual;
  return Number(field.value);
}

function readSettings() {
  return {
    mapper: byId("mapper").value,
    mapperSteps: numberIn("mapper-steps", settings.mappers[byId("mapper").value]?.steps || 1),
    steps: numberIn("steps", settings.steps),
    guidance: numberIn("guidance", settings.guidance),
    seed: numberIn("seed", 0),
  };
}

// Settings other than the usual ones are said below the folded settings.
function showUnusual() {
  const {mapper, mapperSteps, steps, guidance} = readSettings();
  const unusual = [
    [mapper !== settings.choices[0], mapper === "none" ? "no mapper" : `mapper ${mapper}`],
    [mapperSteps !== (settings.mappers[mapper]?.steps || 1), `${mapperSteps} of its steps`],
    [steps !== settings.steps, `${steps} denoising steps`],
    [guidance !== settings.guidance, `guidance ${guidance}`],
  ].flatMap(([is, words]) => (is ? [words] : []));
  byId("unusual").hidden = !unusual.length;
  byId("unusual").firstElementChild.textContent = `Now with ${unusual.join(", ")}.`;
}

function backToUsual() {
  byId("mapper").value = settings.choices[0];
  Object.assign(byId("steps"), {value: settings.steps});
  Object.assign(byId("guidance"), {value: settings.guidance});
  showMapperSteps();
  showUnusual();
}

// From the chosen picture to a sound that plays. A second press while one is being made does nothing.
async function makeSound() {
  wakeAudio();
  if (busy) return null;
  working(true);
  showUnusual();
  try {
    return await queue(async () => {
      await choosing;
      const options = readSettings(),
        source = chosen;
      say("Opening the models …");
      await begun;
      await loaded.clip;
      say("CLIP looks at the picture …");
      const seen = (source.seen ??= await engine.ask("see", {picture: source.picture}));
      showSeen(seen);
      const mapping = await mapChosen(source, seen, options);
      if (!mapping) return null;
      showMapped(seen.visual, mapping.way, mapping.mapped);
      await loaded.all;
      const made = await engine.ask("make", {mapped: mapping.mapped, ...options}, report =>
        showStep(report, options.steps),
      );
      finish({...made, ...mapping, ...seen, options, source});
      return sound;
    });
  } catch (error) {
    say(`No sound: ${error.message}`, true);
    return null;
  } finally {
    working(false);
  }
}

// A press of the page's own buttons. Where the stages lie below them, as on a phone, they come into sight.
function pressed() {
  const below = getComputedStyle(document.querySelector(".go")).position === "fixed";
  if (below && !busy) document.querySelector(".stages").scrollIntoView();
  makeSound();
}

// The picture's way into CLAP's space: a mapper, or for a photograph classifiers and words, as the package goes.
async function mapChosen(source, seen, options) {
  if (source.own && settings.photo && options.mapper === settings.choices[0]) {
    say("Is it a drawing or a photograph? Two classifiers look at it …");
    await openPhoto();
    const look = await engine.ask("photograph", {
      picture: source.picture,
      distance: seen.distance,
      seed: options.seed,
    });
    seen.strange = !look.drawn; // they are surer than the distance in CLIP's space
    if (!look.drawn && !source.anyway) return photographMapped(look);
  }
  say("The mapper carries it into the space of sounds …");
  await loaded[options.mapper];
  return engine.ask("map", {visual: seen.visual, ...options});
}

function photographMapped({names, known, mapped, best, share}) {
  const guesses = describe(names);
  const {label} = settings.classes[best];
  if (known)
    return {mapped, way: [mapped], by: `the classifiers of photographs saw ${guesses}, so it sounds like a ${label}`};
  say(
    `The classifiers of photographs saw ${guesses}: nothing that SoundWorld surely has a sound for (${label} ` +
      `${percent(share)}, where ${percent(settings.photo.leastShare)} are needed). Another mapper in the settings ` +
      "makes a meaningless one all the same.",
    true,
  );
  return null;
}

function working(on) {
  busy = on;
  byId("make").setAttribute("aria-disabled", on);
  byId("another").setAttribute("aria-disabled", on);
  byId("make-word").textContent = on ? "Making …" : "Make its sound";
  byId("status").setAttribute("aria-busy", on); // no screen reader counts the steps aloud
  byId("stop").hidden = !on;
}

// -------------------------------------------------------------------------------------------------------- showing

function showSeen({visual, words}) {
  drawEmbedding(byId("seen"), [[visual, "vision"]]);
  const chips = Object.values(words).map(([[word, share]]) => {
    const chip = Object.assign(document.createElement("span"), {textContent: `${word} `});
    chip.append(Object.assign(document.createElement("small"), {textContent: percent(share)}));
    return chip;
  });
  byId("words").replaceChildren("Nearest words: ", ...chips);
}

function showMapped(visual, way, mapped) {
  crossing = [visual, way.length ? way : [mapped], settings];
  worldMap?.show(...crossing);
}

function showMel(mel) {
  for (const canvas of [byId("mel"), beside]) if (canvas) drawMel(canvas, mel, settings.mels);
}

function showStep({step, mel}, steps) {
  if (mel) showMel(mel);
  say(step ? `AudioLDM denoises: step ${step} of ${steps}` : "AudioLDM begins with noise …");
  byId("mel-caption").textContent = step ? `after step ${step} of ${steps}` : "pure noise";
  progress((step + 0.01) / steps);
}

const WARNING = "This picture is unlike those that the models learned from: do not trust its sound.";

function finish(made) {
  sound = made;
  const {options, source, steps} = made,
    stopped = steps < options.steps;
  const buttons = made.guesses.map((_, i) => {
    const button = Object.assign(document.createElement("button"), {type: "button", textContent: i + 1});
    button.setAttribute("aria-label", `Hear the guess at step ${i + 1} of ${options.steps}`);
    button.onclick = () => hearStep(i + 1);
    return button;
  });
  byId("steps-strip").replaceChildren(...buttons);
  present(made, steps, stopped ? `stopped after step ${steps}` : `all ${steps} steps`);
  const photo = settings.photo ? "" : " Photographs need the extra `photo` when this page is made.";
  if (made.by) say(`Done: ${made.by}.`);
  else if (made.strange) {
    say(WARNING + (source.own ? photo : ""), true);
    byId("heard").append(` ${WARNING}`);
  } else say(`Done: a listener hears ${describe(made.heard)}.`);
  progress(1);
  const title =
    `${source.what}; ${made.by ? "words" : options.mapper}, ${stopped ? `stopped at ${steps} of ` : ""}` +
    `${options.steps} steps, guidance ${options.guidance}, seed ${options.seed}`;
  const by = made.by ? "words" : options.mapper;
  const name = `${source.name}-${by}-steps${options.steps}-guidance${options.guidance}-seed${options.seed}.wav`;
  offer(byId("save"), made.wave, name);
  keep({wave: made.wave, heard: made.heard, image: source.image, title, name});
}

// Show a finished sound, or the guess at a step of it, and play it.
function present({mel, wave, heard}, step, caption) {
  showMel(mel);
  byId("mel-caption").textContent = caption;
  [...byId("steps-strip").children].forEach((button, i) => button.setAttribute("aria-pressed", i + 1 === step));
  byId("heard").textContent = `A listening model hears: ${describe(heard)}.`;
  byId("play").disabled = false;
  byId("play").onclick = () => (playing ? silence() : play());
  const play = () =>
    playWave(wave, share => {
      drawWave(byId("wave"), wave, share);
      byId("play").textContent = share === null ? "▶" : "■";
      byId("play").setAttribute("aria-label", share === null ? "Play the sound" : "Stop the sound");
    });
  byId("wave").setAttribute("aria-label", `Waveform of ${settings.seconds} seconds`);
  play();
}

// What the sound would be if denoising had stopped at a step: the model's guess of the clean sound there.
async function hearStep(step) {
  if (busy || !sound) return null;
  wakeAudio();
  const own = sound,
    place = step < 0 ? own.guesses.length : Math.min(step, own.guesses.length);
  working(true);
  try {
    const last = place === own.guesses.length;
    const guess = last ? own : await queue(() => engine.ask("sound", {latents: own.guesses[place - 1]}));
    present(guess, place, last ? `all ${place} steps` : `the guess at step ${place} of ${own.options.steps}`);
    say(last ? "The whole sound." : `The guess at step ${place}: ${describe(guess.heard)}.`);
    return guess;
  } catch (error) {
    say(`No sound: ${error.message}`, true);
    return null;
  } finally {
    working(false);
  }
}

// ----------------------------------------------------------------------------------------------------- the five stops

const nextSeed = () => {
  byId("seed").value = (numberIn("seed", 0) + 1) % 2 ** 32;
};

// What a stop asks for is made, and its answer stands under its button: to play, the mel, and what is heard.
async function tried(button, title, make) {
  const list = button.closest("li").querySelector(".tried"),
    item = document.createElement("li"),
    play = Object.assign(document.createElement("button"), {type: "button", textContent: "▶", disabled: true}),
    words = Object.assign(document.createElement("span"), {textContent: `${title} …`});
  beside = Object.assign(document.createElement("canvas"), {width: 256, height: 64});
  beside.setAttribute("role", "img");
  beside.setAttribute("aria-label", `Mel spectrogram: ${title}`);
  play.setAttribute("aria-label", `Play: ${title}`);
  item.append(play, beside, words);
  [...list.children].find(one => one.dataset.title === title)?.remove();
  item.dataset.title = title;
  list.append(item);
  while (list.children.length > TRIED) list.firstElementChild.remove();
  const done = await make();
  beside = null;
  if (!done) item.replaceChildren(`${title}: ${byId("status").textContent}`);
  Object.assign(play, {disabled: false, onclick: () => playWave(done.wave)});
  if (done)
    words.textContent =
      `${title}: ${done.strange ? `CLIP reads ${describe(done.words.thing)}; ` : ""}a listener hears ` +
      `${describe(done.heard)}.${done.strange ? ` ${WARNING}` : ""}`;
  return done;
}

const STOPS = {
  mapper: async (button, name) => {
    if (name) byId("mapper").value = name;
    await tried(button, button.textContent, makeSound);
  },
  guidance: async (button, scale) => {
    byId("guidance").value = scale;
    await tried(button, `Guidance ${scale}`, makeSound);
  },
  step: async (button, step) => {
    if (sound || (await makeSound())) await tried(button, button.textContent, () => hearStep(Number(step)));
  },
  seeds: async (button, number) => {
    for (let i = 0; i < Number(number); i++) {
      nextSeed();
      if (!(await tried(button, `Seed ${byId("seed").value}`, makeSound))) return;
      await played();
    }
  },
  noise: async button => {
    takeNoise();
    await tried(button, button.textContent, makeSound);
  },
};

const played = () =>
  new Promise(resolve => {
    const wait = () => (playing ? setTimeout(wait, 100) : resolve());
    wait();
  });

async function tryStop(button) {
  if (busy) return;
  wakeAudio();
  const [stop, value] = button.dataset.try.split(":");
  if (stop !== "step") backToUsual(); // what the stop before has changed is not its matter
  await STOPS[stop](button, value);
}

// ------------------------------------------------------------------------------------------------------------- all

function listenToControls() {
  byId("make").onclick = pressed;
  byId("usual").onclick = () => {
    backToUsual();
    byId("make").focus();
  };
  byId("settings").onchange = showUnusual;
  byId("another").onclick = () => {
    if (!busy) {
      nextSeed();
      pressed();
    }
  };
  byId("stop").onclick = () => engine?.ask("stop");
  byId("file").onchange = event => {
    takeFile(event.target.files[0]);
    event.target.value = "";
  };
  byId("camera").onclick = openCamera;
  byId("shoot").onclick = shoot;
  byId("close-camera").onclick = closeCamera;
  byId("mapper").onchange = () => {
    showMapperSteps();
    if (byId("after").checked) worldMap?.move(byId("mapper").value);
  };
  byId("after").onchange = event => worldMap?.move(event.target.checked ? byId("mapper").value : null);
  for (const name of Object.keys(LEVELS)) byId(name).oninput = () => choose(numberOfChosen());
  for (const button of document.querySelectorAll("[data-try]")) button.onclick = () => tryStop(button);
  for (const noneAsked of document.querySelectorAll('[data-try="mapper:none"]'))
    noneAsked.disabled = !settings.choices.includes("none");
}

async function start() {
  try {
    say(opening);
    await showPictures();
    document.querySelector("main").inert = false;
    await (begun = beginEngine().then(openNetworks));
    await Promise.all([loaded.all, openMap()]);
    sayOpening("Ready. Press the button.");
    document.body.dataset.ready = "true";
  } catch (error) {
    document.querySelector("main").inert = false;
    say(`This page could not open: ${error.message}. It needs a browser of 2023 or newer.`, true);
  }
}

start();
