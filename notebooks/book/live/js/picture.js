"use strict";
// A picture becomes an embedding: cut and resized as Pillow does it, then through CLIP; or through the classifier of
// photographs. Pictures are {width, height, data}, data with four bytes a pixel as a canvas gives them.

// Pillow's bicubic kernel (Keys 1981, a = -0.5).
function bicubic(x) {
  x = Math.abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

// For every output pixel: first input pixel and weights, as Pillow's ImagingResample has them (22 bits, widened to the
// output's pixel where the picture shrinks, so that nothing is skipped).
function resamplingWeights(from, to) {
  const scale = from / to,
    stretch = Math.max(scale, 1),
    support = 2 * stretch;
  return Array.from({length: to}, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - support + 0.5), 0);
    const last = Math.min(Math.trunc(centre + support + 0.5), from);
    const weights = Array.from({length: last - first}, (_, i) => bicubic((i + first - centre + 0.5) / stretch));
    const sum = weights.reduce((a, b) => a + b, 0);
    return {first, weights: weights.map(weight => Math.round((weight / sum) * 2 ** 22))};
  });
}

// One channel (rows x columns of bytes) with every row resampled to `to` columns, and the answer transposed: twice, and
// a picture is resampled both ways.
function resampledRows(channel, rows, columns, to) {
  const answer = new Uint8Array(to * rows);
  resamplingWeights(columns, to).forEach(({first, weights}, place) => {
    for (let row = 0; row < rows; row++) {
      let sum = 2 ** 21;
      for (let i = 0; i < weights.length; i++) sum += channel[row * columns + first + i] * weights[i];
      answer[place * rows + row] = Math.min(Math.max(Math.floor(sum / 2 ** 22), 0), 255);
    }
  });
  return answer;
}

const halfEven = value => {
  // as Python rounds
  const whole = Math.round(value);
  return whole - value === 0.5 && whole % 2 ? whole - 1 : whole;
};

// A picture resampled to columns x rows -> bytes, channel after channel.
function resampled({width, height, data}, columns, rows) {
  const planes = [0, 1, 2].map(colour => {
    const channel = Uint8Array.from({length: width * height}, (_, i) => data[4 * i + colour]);
    if (width === columns && height === rows) return channel;
    return resampledRows(resampledRows(channel, height, width, columns), columns, height, rows);
  });
  const all = new Uint8Array(3 * columns * rows);
  planes.forEach((plane, colour) => all.set(plane, colour * columns * rows));
  return all;
}

// Sides of a picture whose shorter one becomes `short`.
const scaledSides = ({width, height}, short) =>
  [width, height].map(side =>
    side === Math.min(width, height) ? short : Math.trunc((short * side) / Math.min(width, height)),
  );

// torchvision's Resize(resize) and CenterCrop(size): the shorter side becomes `resize` pixels, the middle stays.
// -> Float32Array (3 * size * size), channel after channel, 0 to 255.
function fitted(picture, resize, size) {
  const [columns, rows] = scaledSides(picture, resize),
    all = resampled(picture, columns, rows);
  const left = halfEven((columns - size) / 2),
    top = halfEven((rows - size) / 2);
  return Float32Array.from({length: 3 * size * size}, (_, i) => {
    const column = i % size,
      row = Math.floor(i / size) % size,
      colour = Math.floor(i / (size * size));
    return all[(colour * rows + row + top) * columns + column + left];
  });
}

// The same pixels (channels of size x size) from left to right turned round.
const mirrored = (pixels, size) => pixels.map((_, i) => pixels[i - (i % size) + size - 1 - (i % size)]);

// A picture -> CLIP's unit-norm embedding.
async function embedPicture(picture) {
  const {resize, size} = config.picture;
  return run("clip", {pixels: [fitted(picture, resize, size), [1, 3, size, size]]});
}

// How far an embedding is from the training pictures' (Mahalanobis), v2a_utils.models.clip.
function distance(visual) {
  const {mean, precision} = tensors;
  const away = visual.map((value, i) => value - mean.values[i]);
  return Math.sqrt(away.reduce((sum, value, i) => sum + value * dot(away, precision.values, i * away.length), 0));
}

// What CLIP reads in a picture: the shares of all sentences "a picture of two small dogs near", added up by word.
// -> {name of a scale: [[word, share], ...] the likeliest first}
function nearestWords(visual) {
  const {scales, sentences} = config.vocabulary,
    seen = tensors.vocabulary;
  const logits = sentences.map((_, i) => config.vocabulary.scale * dot(visual, seen.values, i * visual.length));
  const shares = softmax(logits),
    found = {};
  scales.forEach(({name, words}, place) => {
    const sums = new Float64Array(words.length);
    sentences.forEach((chosen, i) => {
      sums[chosen[place]] += shares[i];
    });
    found[name] = largest(sums, 3).map(([i, share]) => [words[i], share]);
  });
  return found;
}

// Whether a picture is a drawing in SoundWorld's manner, v2a_utils.models.photo.PhotoEye.is_drawn: a linear answer on
// what the first classifier sees in it at a drawing's size, and in its mirror image, together with its distance in
// CLIP's space, as a share of the limit.
async function isDrawn(picture, distance) {
  const {
    fits: [{resize, size}],
    drawn,
    bias,
    strange,
  } = config.photo;
  const pixels = fitted(smaller(picture, drawn), resize, size);
  let sum = 0;
  for (const view of [pixels, mirrored(pixels, size)])
    sum += dot(await run("photo0", {pixels: [view, [1, 3, size, size]]}, "features"), tensors.probe.values);
  return sum / 2 + bias + strange * (distance - 1) < 0;
}

function smaller(picture, short) {
  if (Math.min(picture.width, picture.height) <= short) return picture;
  const [width, height] = scaledSides(picture, short),
    all = resampled(picture, width, height);
  const area = width * height;
  return {
    width,
    height,
    data: Uint8Array.from({length: 4 * area}, (_, i) => (i % 4 < 3 ? all[(i % 4) * area + (i >> 2)] : 255)),
  };
}

// What the classifiers of photographs make of a picture, the mean over both and three views each, PhotoEye.see: shares
// of SoundWorld's classes, the likeliest names among ImageNet's, and the class whose sound it gets, if any is known.
async function classified(picture) {
  const {fits, classes, names, leastShare} = config.photo,
    all = new Float64Array(names.length);
  for (const [number, {resize, size}] of fits.entries()) {
    const middle = fitted(picture, resize, size),
      whole = Float32Array.from(resampled(picture, size, size));
    for (const view of [middle, mirrored(middle, size), whole]) {
      const shares = await run(`photo${number}`, {pixels: [view, [1, 3, size, size]]});
      shares.forEach((share, i) => {
        all[i] += share / (3 * fits.length);
      });
    }
  }
  const shares = classes.map(numbers => numbers.reduce((sum, i) => sum + all[i], 0));
  const [[best, share]] = largest(shares, 1);
  return {shares, best, share, known: share >= leastShare, names: largest(all, 3).map(([i, one]) => [names[i], one])};
}

// A number that differs from picture to picture (Fowler, Noll and Vo's hash of its bytes).
const contentOf = ({data}) => data.reduce((hash, byte) => Math.imul(hash ^ byte, 16777619), 2166136261) >>> 0;
