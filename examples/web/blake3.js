// The hash by which a manifest knows the files of its bundle: BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs), which browsers and Node do not bring.

const START = Int32Array.of(0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19);
const [FIRST, LAST, PARENT, ROOT] = [1, 2, 4, 8], BLOCK = 64, CHUNK = 1024;
// Each of seven rounds mixes the columns of four by four words, then their diagonals, with two words of the block each time: in their order at first, then in
// the order of the round before, permuted.
const QUARTERS = [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15], [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]];
const PERMUTED = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8], orders = [PERMUTED.map((_, i) => i)];
while (orders.length < 7) orders.push(PERMUTED.map((i) => orders.at(-1)[i]));
const MIXINGS = Uint8Array.from(orders.flatMap((order) => QUARTERS.flatMap((places, q) => [...places, order[2 * q], order[2 * q + 1]])));

const words = new Int32Array(16), bytesOfWords = new Uint8Array(words.buffer), v = new Int32Array(16);

/** Makes of the eight words in `chained`, with the block in `words`, of so many bytes, the next eight. */
function compress(chained, counter, length, flags) {
  v.set(chained);
  for (let i = 0; i < 4; i++) v[8 + i] = START[i];
  v[12] = counter;
  v[13] = Math.floor(counter / 2 ** 32);
  v[14] = length;
  v[15] = flags;
  for (let i = 0; i < MIXINGS.length; i += 6) {
    const a = MIXINGS[i], b = MIXINGS[i + 1], c = MIXINGS[i + 2], d = MIXINGS[i + 3];
    let va = v[a], vb = v[b], vc = v[c], vd = v[d];
    va = (va + vb + words[MIXINGS[i + 4]]) | 0;
    vd ^= va;
    vd = (vd >>> 16) | (vd << 16);
    vc = (vc + vd) | 0;
    vb ^= vc;
    vb = (vb >>> 12) | (vb << 20);
    va = (va + vb + words[MIXINGS[i + 5]]) | 0;
    vd ^= va;
    vd = (vd >>> 8) | (vd << 24);
    vc = (vc + vd) | 0;
    vb ^= vc;
    v[a] = va;
    v[b] = (vb >>> 7) | (vb << 25);
    v[c] = vc;
    v[d] = vd;
  }
  for (let i = 0; i < 8; i++) chained[i] = v[i] ^ v[8 + i];
  return chained;
}

/** What joins two halves of the tree over the chunks. */
function parent(left, right, flags) {
  words.set(left);
  words.set(right, 8);
  return compress(START.slice(), 0, BLOCK, PARENT | flags);
}

/** A chunk of at most 1024 bytes. */
function chunk(bytes, counter, flags) {
  const chained = START.slice();
  let at = 0;
  do {
    const block = bytes.subarray(at, at + BLOCK), last = at + BLOCK >= bytes.length;
    if (block.length < BLOCK) bytesOfWords.fill(0);
    bytesOfWords.set(block);
    compress(chained, counter, block.length, (at === 0 ? FIRST : 0) | (last ? LAST | flags : 0));
    at += BLOCK;
  } while (at < bytes.length);
  return chained;
}

/** The hash of bytes, as text. */
export function blake3(bytes) {
  const halves = [], count = Math.max(1, Math.ceil(bytes.length / CHUNK));
  for (let k = 0; k + 1 < count; k++) {
    let joined = chunk(bytes.subarray(k * CHUNK, (k + 1) * CHUNK), k, 0);
    // As many halves are whole now as the number of chunks is even, times over.
    for (let whole = k + 1; whole % 2 === 0; whole /= 2) joined = parent(halves.pop(), joined, 0);
    halves.push(joined);
  }
  let hash = chunk(bytes.subarray((count - 1) * CHUNK), count - 1, halves.length ? 0 : ROOT);
  while (halves.length) hash = parent(halves.pop(), hash, halves.length ? 0 : ROOT);
  return [...new Uint8Array(hash.buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
