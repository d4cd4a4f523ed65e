// Decoded images as a network's input, as `spgraph finetune` prepares them: the bilinear filter of Pillow (wider when shrinking), with weights
// of 16 bits and the rows first, the middle cut out, scaled, mean and standard deviation. The same bits, where the decoder gives the same pixels.

/** `image`: { data, width, height, channels }, bytes in rows, with 3 (RGB) or 4 (RGBA) channels. N×C×H×W numbers of one image, as a Float32Array. */
export function preprocess(image, manifest) {
  const how = manifest.preprocessing, last = how?.layout === "nhwc", shape = manifest.data.input.shape;
  if (!how) throw new Error("the bundle does not say how images are prepared: rewrite with --resize, --mean and --std");
  const [channels, height, width] = last ? [shape[3], shape[1], shape[2]] : shape.slice(1);
  if (channels !== 3) throw new Error(`the network takes ${channels} channels, and pictures are made to 3`);
  let side = how.resize, size;
  while ((size = scaled(image, side))[0] < width || size[1] < height) side += 1;
  const pixels = resize(rgb(image), image.width, image.height, ...size);
  const left = even((size[0] - width) / 2), top = even((size[1] - height) / 2), scale = Math.fround(how.scale ?? 1);
  const out = new Float32Array(3 * height * width), bgr = how.channels === "bgr", raw = manifest.data.input.dtype === "uint8";
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) {
        const byte = pixels[((y + top) * size[0] + x + left) * 3 + (bgr ? 2 - c : c)];
        const value = raw ? byte : (Math.fround(Math.fround(byte / 255) * scale) - Math.fround(how.mean[c])) / Math.fround(how.std[c]);
        out[last ? (y * width + x) * 3 + c : (c * height + y) * width + x] = value;
      }
    }
  }
  return out;
}

const scaled = ({ width, height }, side) => (width <= height ? [side, Math.floor((side * height) / width)] : [Math.floor((side * width) / height), side]);

/** Half to even, as Python rounds. */
function even(value) {
  const down = Math.floor(value);
  return value - down !== 0.5 ? Math.round(value) : down % 2 ? down + 1 : down;
}

function rgb({ data, width, height, channels }) {
  if (channels === 3) return data;
  const out = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) for (let c = 0; c < 3; c++) out[3 * i + c] = data[4 * i + c];
  return out;
}

/** Weights of one axis, as whole numbers that are shifted back: for each new place, the first old one and the weights from there on. */
function filter(old, now) {
  const scale = old / now, support = Math.max(scale, 1);
  const places = Array.from({ length: now }, (_, i) => {
    const centre = (i + 0.5) * scale, first = Math.max(Math.floor(centre - support), 0), end = Math.min(Math.ceil(centre + support), old);
    const weights = Array.from({ length: end - first }, (_, k) => Math.max(1 - Math.abs((first + k + 0.5 - centre) / support), 0));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((w) => w / sum) };
  });
  const largest = Math.max(...places.map((p) => Math.max(...p.weights)));
  let shift = 0;
  while (shift < 21 && Math.round(largest * 2 ** (shift + 1)) < 1 << 15) shift += 1;
  return { shift, places: places.map(({ first, weights }) => ({ first, weights: weights.map((w) => Math.round(w * 2 ** shift)) })) };
}

function resize(data, width, height, newWidth, newHeight) {
  if (height !== newHeight) data = pass(data, filter(height, newHeight), newHeight, width, (y, x) => y * width + x);
  if (width !== newWidth) data = pass(data, filter(width, newWidth), newWidth, newHeight, (x, y) => y * width + x, (x, y) => y * newWidth + x);
  return data;
}

/** One axis of `count` new places, each weighed over `from` of the old pixels; `others` is the length of the other axis. */
function pass(data, { shift, places }, count, others, from, to = from) {
  const half = 2 ** (shift - 1), out = new Uint8Array(count * others * 3);
  for (let i = 0; i < count; i++) {
    const { first, weights: w } = places[i];
    for (let j = 0; j < others; j++) {
      for (let c = 0; c < 3; c++) {
        let sum = half;
        for (let k = 0; k < w.length; k++) sum += w[k] * data[from(first + k, j) * 3 + c];
        out[to(i, j) * 3 + c] = Math.min(sum >> shift, 255);
      }
    }
  }
  return out;
}
