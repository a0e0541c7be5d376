"use strict";
// The map of SoundWorld: pictures and sounds in one plane, and the reader's picture on its way across the gap.

const SVG = "http://www.w3.org/2000/svg",
  REACH = 7; // how near to a point a finger must come, of the map's 100

const onMap = ([x, y]) => [160 * x, 100 * (1 - y)]; // shares of the plane -> the drawing

class WorldMap {
  constructor(svg, tensors, labels, classes) {
    Object.assign(this, {svg, tensors, labels, classes, pairs: labels.length, at: null});
    this.plane = tensors.plane.values;
    this.layer = {};
    for (const name of ["world", "way", "own"]) svg.append((this.layer[name] = document.createElementNS(SVG, "g")));
    this.dots = Array.from({length: 2 * this.pairs}, (_, i) => this.dot(i));
    this.mark = this.shape("own", "circle", {class: "mark", r: 2.6, visibility: "hidden"});
    svg.addEventListener("pointerdown", event => this.touch(event));
    svg.addEventListener("keydown", event => this.key(event));
  }

  shape(layer, kind, attributes) {
    const shape = document.createElementNS(SVG, kind);
    for (const [name, value] of Object.entries(attributes)) shape.setAttribute(name, value);
    this.layer[layer].append(shape);
    return shape;
  }

  place(i) {
    return onMap(this.now(i));
  }

  now(i) {
    // of a picture after the mapper, where all are shown so
    const table = i < this.pairs && this.moved ? this.moved : this.plane;
    return [table[2 * i], table[2 * i + 1]];
  }

  dot(i) {
    const [x, y] = this.place(i);
    if (i < this.pairs) return this.shape("world", "circle", {class: "picture", cx: x, cy: y, r: 1.1});
    return this.shape("world", "path", {
      class: "sound",
      d: `M${x - 1.2} ${y + 1}L${x + 1.2} ${y + 1}L${x} ${y - 1.3}Z`,
    });
  }

  // Show all pictures where a mapper puts them, or (null) where CLIP does.
  move(mapper) {
    this.moved = mapper && this.tensors[`places ${mapper}`].values;
    for (let i = 0; i < this.pairs; i++) {
      const [x, y] = this.place(i);
      this.dots[i].setAttribute("cx", x);
      this.dots[i].setAttribute("cy", y);
    }
  }

  // Where an embedding belongs: the mean place of its nearest points by cosine, weighted by exp(sharpness cosine).
  placeOf(vector, {nearest, sharpness}) {
    const {
        values,
        shape: [number, size],
      } = this.tensors.points,
      cosines = [];
    for (let i = 0; i < number; i++) {
      let sum = 0;
      for (let d = 0; d < size; d++) sum += vector[d] * values[i * size + d];
      cosines.push([i, sum]);
    }
    const near = cosines
      .sort((a, b) => b[1] - a[1])
      .slice(0, nearest)
      .map(([i, cosine]) => [i, Math.exp(sharpness * cosine)]);
    const sum = near.reduce((total, [, weight]) => total + weight, 0);
    return [0, 1].map(
      axis => near.reduce((total, [i, weight]) => total + weight * this.plane[2 * i + axis], 0) / sum,
    );
  }

  // The reader's picture: where CLIP puts it, and, once it is mapped, its way there and what it was at every step.
  show(visual, way, settings) {
    this.layer.way.replaceChildren();
    this.layer.own.replaceChildren(this.mark);
    const points = [visual, ...way].map(vector => this.placeOf(vector, settings)).map(onMap);
    const [[x, y]] = points;
    this.shape("own", "circle", {class: "own vision", cx: x, cy: y, r: 2.4});
    if (!way.length) return;
    this.shape("way", "polyline", {class: "way", points: points.map(point => point.join(",")).join(" ")});
    const square = this.shape("own", "rect", {class: "own mapped", x: -2.2, y: -2.2, width: 4.4, height: 4.4});
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    points.forEach(([x, y], i) => {
      const move = () => square.setAttribute("transform", `translate(${x} ${y})`);
      if (still || i === 0) move();
      else setTimeout(move, 130 * i);
    });
  }

  highlight(label) {
    this.dots.forEach((dot, i) => dot.classList.toggle("same", this.labels[i % this.pairs] === label));
  }

  touch(event) {
    const matrix = this.svg.getScreenCTM().inverse(),
      {x, y} = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix);
    const [i, away] = this.nearest(j => Math.hypot(this.place(j)[0] - x, this.place(j)[1] - y));
    if (away < REACH) this.choose(i);
  }

  nearest(cost) {
    return this.dots
      .map((_, i) => [i, cost(i)])
      .reduce((best, one) => (one[1] < best[1] ? one : best), [null, Infinity]);
  }

  key(event) {
    const ways = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
    if (event.key in ways) {
      const [dx, dy] = ways[event.key],
        [x, y] = this.place(this.at ?? 0);
      const [i] = this.nearest(j => {
        const [right, down] = [this.place(j)[0] - x, this.place(j)[1] - y],
          ahead = right * dx + down * dy;
        return ahead > 0.01 ? Math.hypot(right, down) + 2 * Math.abs(right * dy - down * dx) : Infinity;
      });
      if (i !== null) this.choose(i, false);
    } else if (event.key === "Enter" || event.key === " ") this.choose(this.at ?? 0);
    else return;
    event.preventDefault();
  }

  // Mark a point and show its picture; `aloud` also plays its sound.
  async choose(i, aloud = true) {
    const pair = i % this.pairs,
      [x, y] = this.place(i),
      card = byId("touched"),
      name = this.classes[this.labels[pair]].label;
    this.at = i;
    for (const [key, value] of [
      ["cx", x],
      ["cy", y],
      ["visibility", "visible"],
    ])
      this.mark.setAttribute(key, value);
    Object.assign(card.querySelector("img"), {src: this.picture(pair), hidden: false});
    card.querySelector("span").textContent = `${i < this.pairs ? "picture" : "sound"} of a ${name}`;
    say(`${i < this.pairs ? "Picture" : "Sound"} of a ${name}`);
    if (aloud) playBuffer(await decodeSound(this.tensors[`sound ${pair}`].values));
  }

  picture(pair) {
    this.pictures ??= {};
    return (this.pictures[pair] ??= URL.createObjectURL(
      new Blob([this.tensors[`picture ${pair}`].values], {type: "image/webp"}),
    ));
  }
}
