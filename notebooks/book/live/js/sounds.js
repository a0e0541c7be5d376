"use strict";
// Sounds are played, saved, and kept to be compared.

const KEPT = 8; // sounds that stay on the page
let audioContext = null,
  playing = null;

// Called in a press, so that the browser lets sounds play that are ready seconds later.
function wakeAudio() {
  audioContext ??= new AudioContext();
  if (audioContext.state === "suspended") audioContext.resume();
  return audioContext;
}

function silence() {
  if (!playing) return;
  const {source, onTime} = playing;
  playing = null;
  source.onended = null;
  try {
    source.stop();
  } catch {
    /* it had not begun */
  }
  onTime?.(null);
}

// Play an AudioBuffer; onTime hears of the share played, and null at the end.
function playBuffer(buffer, onTime = null) {
  silence();
  const context = wakeAudio(),
    source = context.createBufferSource();
  source.buffer = buffer;
  source.connect(context.destination);
  const own = (playing = {source, onTime}),
    started = context.currentTime;
  source.onended = () => {
    if (playing === own) silence();
  };
  source.start();
  const follow = () => {
    if (playing !== own) return;
    onTime?.(Math.min((context.currentTime - started) / buffer.duration, 1));
    requestAnimationFrame(follow);
  };
  follow();
}

function playWave(wave, onTime = null) {
  const buffer = wakeAudio().createBuffer(1, wave.length, settings.sampleRate);
  buffer.copyToChannel(wave, 0);
  playBuffer(buffer, onTime);
}

// The bytes of a sound file -> AudioBuffer. Decoding takes its bytes away, so it gets a copy.
const decodeSound = bytes => wakeAudio().decodeAudioData(bytes.slice().buffer);

// A wave as a file, 16-bit PCM: RIFF's header of 44 bytes, then the samples.
function wavFile(wave, rate) {
  const file = new DataView(new ArrayBuffer(44 + 2 * wave.length));
  const write = (place, text) => {
    [...text].forEach((letter, i) => file.setUint8(place + i, letter.charCodeAt(0)));
  };
  write(0, "RIFF");
  write(8, "WAVEfmt ");
  write(36, "data");
  for (const [place, value] of [
    [4, 36 + 2 * wave.length],
    [16, 16],
    [24, rate],
    [28, 2 * rate],
    [40, 2 * wave.length],
  ])
    file.setUint32(place, value, true);
  for (const [place, value] of [
    [20, 1],
    [22, 1],
    [32, 2],
    [34, 16],
  ])
    file.setUint16(place, value, true);
  wave.forEach((value, i) => file.setInt16(44 + 2 * i, Math.round(Math.max(-1, Math.min(1, value)) * 32767), true));
  return new Blob([file], {type: "audio/wav"});
}

const percent = share => (share > 0.995 ? "over 99%" : `${Math.round(100 * share)}%`);

const describe = heard =>
  heard.length
    ? heard
        .slice(0, 2)
        .filter(([, share]) => share >= 0.005)
        .map(([name, share]) => `${name} ${percent(share)}`)
        .join(", ")
    : "no listener came with these models";

// Offer a wave for saving in a link; the file it offered before is given up.
function offer(link, wave, name) {
  if (link.href) URL.revokeObjectURL(link.href);
  Object.assign(link, {href: URL.createObjectURL(wavFile(wave, settings.sampleRate)), download: name, hidden: false});
}

// Put a sound in front of the list of those to compare.
function keep({wave, heard, image, title, name}) {
  const list = byId("kept"),
    item = document.createElement("li");
  list.querySelector(".empty")?.remove();
  const picture = Object.assign(new Image(), {src: image, alt: ""});
  const words = document.createElement("div"),
    play = document.createElement("button"),
    save = document.createElement("a");
  words.append(
    Object.assign(document.createElement("strong"), {textContent: `heard: ${describe(heard)}`}),
    document.createElement("br"),
    title,
  );
  Object.assign(play, {type: "button", textContent: "▶"});
  play.setAttribute("aria-label", `Play: ${title}`);
  play.onclick = () => playWave(wave);
  save.className = "button";
  save.textContent = "wav";
  save.setAttribute("aria-label", `Save as wav: ${title}`);
  offer(save, wave, name);
  item.append(picture, words, play, save);
  list.prepend(item);
  while (list.children.length > KEPT) {
    URL.revokeObjectURL(list.lastElementChild.querySelector("a").href);
    list.lastElementChild.remove();
  }
}
