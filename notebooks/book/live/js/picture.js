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

// torchvision's Resize(resize) and CenterCrop(size): the shorter side becomes `resize` pixels, the middle stays.
// -> Float32Array (3 * size * size), channel after channel, 0 to 255.
function fitted(picture, resize, size) {
  const {width, height, data} = picture,
    short = Math.min(width, height);
  const [columns, rows] = [width, height].map(side =>
    side === short ? resize : Math.trunc((resize * side) / short),
  );
  const left = halfEven((columns - size) / 2),
    top = halfEven((rows - size) / 2);
  const pixels = new Float32Array(3 * size * size);
  for (let colour = 0; colour < 3; colour++) {
    let channel = Uint8Array.from({length: width * height}, (_, i) => data[4 * i + colour]);
    if (width !== columns || height !== rows)
      channel = resampledRows(resampledRows(channel, height, width, columns), columns, height, rows);
    for (let row = 0; row < size; row++)
      for (let column = 0; column < size; column++)
        pixels[(colour * size + row) * size + column] = channel[(row + top) * columns + column + left];
  }
  return pixels;
}

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

// What the classifier of photographs makes of a picture, v2a_utils.models.photo: shares of SoundWorld's classes, and
// the likeliest names among ImageNet's.
async function classified(picture) {
  const {resize, size, classes, names} = config.photo;
  const all = await run("photo", {pixels: [fitted(picture, resize, size), [1, 3, size, size]]});
  const shares = classes.map(numbers => numbers.reduce((sum, i) => sum + all[i], 0));
  return {shares, names: largest(all, 3).map(([i, share]) => [names[i], share])};
}

// Whether things that SoundWorld has get enough of the probability: otherwise no sound is better than a guess.
function photographIsKnown({shares}) {
  return shares.reduce((a, b) => a + b, 0) >= config.photo.leastShare;
}
