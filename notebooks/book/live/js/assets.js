"use strict";
// What is large comes in scripts that call put(); it is opened once, handed on, and forgotten.

const waiting = {};

function put(name, packed) {
  waiting[name](packed);
}

// The bytes of an asset. A script is used because a page from disk may not fetch.
function asset(name) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    waiting[name] = packed => {
      resolve(opened(packed));
    };
    script.src = `assets/${name}.js`;
    script.onload = () => {
      script.remove();
    };
    script.onerror = () => reject(new Error(`assets/${name}.js is missing: copy the page's whole folder`));
    document.head.append(script);
  });
}

async function opened(packed) {
  const text = atob(packed),
    bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const readText = bytes => new TextDecoder().decode(bytes);

// The worker: ask("see", {...}) is answered with a promise; onProgress hears of steps in between.
class Engine {
  constructor(source) {
    this.worker = new Worker(URL.createObjectURL(new Blob([source], {type: "text/javascript"})));
    this.open = new Map();
    this.number = 0;
    this.worker.onmessage = ({data: {id, answer, error, progress}}) => {
      const {resolve, reject, onProgress} = this.open.get(id);
      if (progress) {
        onProgress?.(progress);
        return;
      }
      this.open.delete(id);
      if (error) reject(new Error(error));
      else resolve(answer);
    };
  }

  ask(job, values = {}, onProgress = null, transfer = []) {
    return new Promise((resolve, reject) => {
      const id = ++this.number;
      this.open.set(id, {resolve, reject, onProgress});
      this.worker.postMessage({id, job, values}, transfer);
    });
  }
}
