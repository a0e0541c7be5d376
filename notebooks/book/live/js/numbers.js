"use strict";
// Random numbers as NumPy and PyTorch draw them, so that a seed here is the same seed in the package; small helpers.

// NumPy's SeedSequence (O'Neill's seed_seq_fe): whole numbers below 2^32 -> one well-mixed seed.
function mixedSeed(entropy) {
  const product = Math.imul;
  let constant = 0x43b0d7e5;
  const hash = value => {
    value ^= constant;
    constant = product(constant, 0x931e8875);
    value = product(value, constant);
    return value ^ (value >>> 16);
  };
  const mix = (x, y) => {
    const mixed = (product(0xca01f9dd, x) - product(0x4973f715, y)) | 0;
    return mixed ^ (mixed >>> 16);
  };
  const pool = [0, 1, 2, 3].map(i => hash(entropy[i] ?? 0));
  for (let from = 0; from < 4; from++)
    for (let to = 0; to < 4; to++) if (from !== to) pool[to] = mix(pool[to], hash(pool[from]));
  let state = pool[0] ^ 0x8b51f9dd;
  state = product(state, product(0x8b51f9dd, 0x58f38ded));
  return (state ^ (state >>> 16)) >>> 0;
}

// The Mersenne Twister MT19937 (Matsumoto and Nishimura 1998), PyTorch's generator on a CPU.
class Twister {
  constructor(seed) {
    this.state = new Uint32Array(624);
    this.state[0] = seed;
    for (let i = 1; i < 624; i++) {
      const before = this.state[i - 1];
      this.state[i] = Math.imul(1812433253, before ^ (before >>> 30)) + i;
    }
    this.next = 624;
  }

  whole() {
    // 0 to 2^32 - 1
    if (this.next === 624) this.turn();
    let y = this.state[this.next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  turn() {
    const s = this.state;
    for (let i = 0; i < 624; i++) {
      const y = (s[i] & 0x80000000) | (s[(i + 1) % 624] & 0x7fffffff);
      s[i] = s[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.next = 0;
  }

  uniform() {
    return (this.whole() & 0xffffff) / 0x1000000;
  } // 24 bits, as single precision holds

  // As torch.randn fills 16 numbers and more: Box-Muller on eight pairs at a time, the last 16 drawn anew.
  normal(number) {
    const values = Float32Array.from({length: number}, () => this.uniform());
    const turn = start => {
      for (let i = start; i < start + 8; i++) {
        const radius = Math.sqrt(-2 * Math.log(1 - values[i])),
          angle = 2 * Math.PI * values[i + 8];
        values[i] = radius * Math.cos(angle);
        values[i + 8] = radius * Math.sin(angle);
      }
    };
    for (let start = 0; start + 16 <= number; start += 16) turn(start);
    if (number % 16) {
      for (let i = number - 16; i < number; i++) values[i] = this.uniform();
      turn(number - 16);
    }
    return values;
  }
}

// The generator of a single row, v2a_utils.models.batches.row_generators([0], seed, *salt)[0].
const rowGenerator = (seed, ...salt) => new Twister(mixedSeed([seed, 0, ...salt]));

function dot(a, b, from = 0) {
  // of a and as many numbers of b
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[from + i];
  return sum;
}

function unit(vector) {
  const length = Math.sqrt(dot(vector, vector));
  return vector.map(value => value / length);
}

function softmax(logits) {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const shares = Float64Array.from(logits, value => Math.exp(value - most));
  const sum = shares.reduce((a, b) => a + b, 0);
  return shares.map(value => value / sum);
}

// The k largest of `values`, [index, value] each.
const largest = (values, k) =>
  Array.from(values, (value, index) => [index, value])
    .sort((a, b) => b[1] - a[1])
    .slice(0, k);

// Rows of a matrix as a safetensors file has it.
const rowOf = (matrix, i) => matrix.values.subarray(i * matrix.shape[1], (i + 1) * matrix.shape[1]);

const BYTES = {F32: Float32Array, U8: Uint8Array};

// A safetensors file: 8 bytes with the header's length, the header as JSON, the numbers. -> name: {shape, values}
function readTensors(bytes) {
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  const found = {};
  for (const [
    name,
    {
      dtype,
      shape,
      data_offsets: [start, end],
    },
  ] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const part = bytes.slice(8 + length + start, 8 + length + end); // a copy, so that it is aligned
    found[name] = {shape, values: new BYTES[dtype](part.buffer)};
  }
  return found;
}
