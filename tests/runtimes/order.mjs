// The order in which `spgraph finetune` takes images; see tests/python/order.py.

function* numbers(seed, epoch) {
  const key = [1, 0, seed, 0, epoch, 0, 0, 0];
  for (let counter = 0; ; counter++) {
    const start = Uint32Array.from([0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, ...key, counter, 0, 0, 0]), x = start.slice();
    const mix = (a, b, c, d) => {
      for (const [p, q, r, shift] of [[a, b, d, 16], [c, d, b, 12], [a, b, d, 8], [c, d, b, 7]]) {
        x[p] += x[q];
        x[r] ^= x[p];
        x[r] = (x[r] << shift) | (x[r] >>> (32 - shift));
      }
    };
    for (let round = 0; round < 4; round++) {
      for (let i = 0; i < 4; i++) mix(i, 4 + i, 8 + i, 12 + i);
      for (let i = 0; i < 4; i++) mix(i, 4 + ((i + 1) % 4), 8 + ((i + 2) % 4), 12 + ((i + 3) % 4));
    }
    for (let i = 0; i < 16; i += 2) yield BigInt((x[i] + start[i]) >>> 0) | (BigInt((x[i + 1] + start[i + 1]) >>> 0) << 32n);
  }
}

/** The images of each step. */
export function batches(count, batch, steps, seed = 0) {
  const found = [];
  for (let epoch = 0; found.length < steps; epoch++) {
    const draw = numbers(seed, epoch), items = Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const j = Number((draw.next().value * BigInt(i + 1)) >> 64n);
      [items[i], items[j]] = [items[j], items[i]];
    }
    for (let k = 0; k < Math.floor(count / batch); k++) found.push(items.slice(k * batch, (k + 1) * batch));
  }
  return found.slice(0, steps);
}
