"use strict";
// What the page draws: embeddings, mels and waves on canvases; and pictures taken apart into pixels.

const byId = id => document.getElementById(id);
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

const LARGEST = 60e6; // pixels of a photograph; larger ones need more memory than a page should take
const SHORT = 448; // pixels that a photograph's shorter side keeps, as in the package
const MAGMA = [
  [0, 0, 4],
  [59, 15, 112],
  [140, 41, 129],
  [222, 73, 104],
  [254, 159, 109],
  [252, 253, 191],
];
const FLOOR = -11.5,
  ROOF = 1; // nats, of the mels' colours

// A canvas made as fine as the screen, cleared: its context, and its size in the page's pixels.
function cleared(canvas) {
  const {clientWidth: width, clientHeight: height} = canvas,
    fine = window.devicePixelRatio || 1;
  Object.assign(canvas, {width: width * fine, height: height * fine});
  const context = canvas.getContext("2d");
  context.scale(fine, fine);
  return {context, width, height};
}

// Embeddings as bars up and down: each [vector, name of a colour], one in front of the other.
function drawEmbedding(canvas, vectors) {
  const {context, width, height} = cleared(canvas);
  for (const [vector, name] of vectors) {
    const most = Math.max(...vector.map(Math.abs)),
      bar = width / vector.length;
    context.fillStyle = colour(name);
    vector.forEach((value, i) => {
      const tall = ((value / most) * height) / 2;
      context.fillRect(i * bar + 1, height / 2 - Math.max(tall, 0), Math.max(bar - 2, 1), Math.abs(tall) + 0.5);
    });
  }
}

// A log-mel (frames x mels, nats), low notes below.
function drawMel(canvas, mel, mels) {
  const frames = mel.length / mels,
    image = new ImageData(frames, mels);
  Object.assign(canvas, {width: frames, height: mels});
  mel.forEach((value, i) => {
    const share = Math.min(Math.max((value - FLOOR) / (ROOF - FLOOR), 0), 1) * (MAGMA.length - 1);
    const low = Math.min(Math.floor(share), MAGMA.length - 2),
      place = 4 * ((mels - 1 - (i % mels)) * frames + Math.floor(i / mels));
    for (let c = 0; c < 3; c++)
      image.data[place + c] = MAGMA[low][c] + (share - low) * (MAGMA[low + 1][c] - MAGMA[low][c]);
    image.data[place + 3] = 255;
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// A wave as bars of its loudest samples; what was played already (a share, or null) is in another colour.
function drawWave(canvas, wave, played = null) {
  const {context, width, height} = cleared(canvas),
    bars = Math.floor(width / 3),
    size = Math.floor(wave.length / bars);
  for (let i = 0; i < bars; i++) {
    let peak = 0;
    for (let j = i * size; j < (i + 1) * size; j++) peak = Math.max(peak, Math.abs(wave[j]));
    const tall = Math.max(peak * height, 2);
    context.fillStyle = colour(played !== null && i / bars > played ? "line" : "audio");
    context.fillRect(i * 3, (height - tall) / 2, 2, tall);
  }
}

// ImageBitmap, video or canvas -> pixels, transparency laid on white, the shorter side at most SHORT.
function pixelsOf(source, width, height) {
  const scale = Math.min(1, SHORT / Math.min(width, height));
  const canvas = Object.assign(document.createElement("canvas"), {
    width: Math.max(Math.round(width * scale), 1),
    height: Math.max(Math.round(height * scale), 1),
  });
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  const {data} = context.getImageData(0, 0, canvas.width, canvas.height);
  return {picture: {width: canvas.width, height: canvas.height, data}, image: canvas.toDataURL("image/jpeg", 0.85)};
}

// A file -> pixels. Errors are sentences for the reader.
async function pixelsOfFile(file, name) {
  const address = URL.createObjectURL(file),
    image = new Image();
  try {
    image.src = address;
    await image.decode().catch(() => {
      throw new Error(`${name} is not a picture that this browser can read. Choose another.`);
    });
    const {naturalWidth: width, naturalHeight: height} = image;
    if (width * height > LARGEST)
      throw new Error(
        `${name} has ${Math.round((width * height) / 1e6)} million pixels; choose one of at most ${LARGEST / 1e6}.`,
      );
    if (Math.max(width, height) > 20 * Math.min(width, height))
      throw new Error(`${name} is too narrow to be seen. Choose another.`);
    return pixelsOf(image, width, height);
  } finally {
    URL.revokeObjectURL(address);
    image.removeAttribute("src"); // its decoded pixels may go
  }
}
