"use strict";
// "Which is real?": ten rounds of a true sound beside one that was made from the picture.

const ROUNDS = 10;

class Game {
  constructor(map, make) {
    Object.assign(this, {map, make});
    this.truths = Object.keys(map.tensors)
      .filter(name => name.startsWith("truth "))
      .map(name => Number(name.slice(6)));
    Object.assign(byId("game-start"), {onclick: () => this.start(), disabled: false});
    byId("next-round").onclick = () => this.next();
    for (const button of document.querySelectorAll("[data-hear]"))
      button.onclick = () => this.hear(Number(button.dataset.hear));
    for (const button of document.querySelectorAll("[data-real]"))
      button.onclick = () => this.answer(Number(button.dataset.real));
  }

  start() {
    wakeAudio();
    Object.assign(this, {
      round: 0,
      score: 0,
      left: [...this.truths].sort(() => Math.random() - 0.5).slice(0, ROUNDS),
    });
    byId("game-start").textContent = "Begin again";
    byId("round").hidden = false;
    byId("round").scrollIntoView({block: "nearest"});
    this.ready = this.prepare();
    this.next();
  }

  // The next pair, made while the reader still thinks about the last: its sounds, and which of them is real.
  async prepare() {
    const pair = this.left.pop();
    if (pair === undefined) return null;
    const {points} = this.map.tensors,
      size = points.shape[1];
    const made = await this.make(
      points.values.slice(pair * size, (pair + 1) * size),
      pair + Math.floor(Math.random() * 1e6),
    );
    const buffer = wakeAudio().createBuffer(1, made.wave.length, settings.sampleRate);
    buffer.copyToChannel(made.wave, 0);
    const sounds = [await decodeSound(this.map.tensors[`truth ${pair}`].values), buffer],
      real = Math.random() < 0.5 ? 0 : 1;
    return {pair, real, sounds: real === 0 ? sounds : sounds.reverse()};
  }

  async next() {
    const round = ++this.round;
    this.buttons(true);
    byId("next-round").hidden = true;
    byId("verdict").textContent = "";
    byId("round-title").textContent = `Round ${round} of ${ROUNDS}: making a sound …`;
    const asked = this.ready,
      now = await asked.catch(error => {
        byId("round-title").textContent = `No sound: ${error.message}`;
      });
    if (!now || asked !== this.ready) return; // begun again meanwhile
    this.now = now;
    byId("round-picture").src = this.map.picture(now.pair);
    byId("round-picture").alt = `A drawing: ${this.map.classes[this.map.labels[now.pair]].label}`;
    byId("round-title").textContent = `Round ${round} of ${ROUNDS}. Listen to both.`;
    this.buttons(false);
    if (round < ROUNDS) this.ready = this.prepare();
  }

  buttons(disabled) {
    for (const button of document.querySelectorAll("[data-hear], [data-real]")) button.disabled = disabled;
  }

  hear(which) {
    playBuffer(this.now.sounds[which]);
  }

  answer(which) {
    const right = which === this.now.real;
    this.score += right;
    for (const button of document.querySelectorAll("[data-real]")) button.disabled = true;
    const real = "AB"[this.now.real],
      last = this.round === ROUNDS;
    byId("verdict").textContent =
      `${right ? "Right" : "No"}: ${real} is real. Score ${this.score} of ${this.round}.` +
      (last
        ? ` ${
            this.score >= 9
              ? "Your ears are not fooled."
              : this.score > 6
                ? "You hear a difference, but not always."
                : "You could as well have guessed."
          } Guessing gets 5.`
        : "");
    byId("next-round").hidden = last;
    if (!last) byId("next-round").focus();
  }
}
