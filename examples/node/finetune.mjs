// Fine-tunes a bundle on a folder of images, in Node: node finetune.mjs BUNDLE IMAGES OUT.onnx [--epochs 10] [--lr 0.01] [--weights FILE]
// IMAGES has a sub-folder for each class. With --weights the state is kept there after each epoch, and training goes on from it.

import { existsSync } from "node:fs";
import { readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";
import * as ort from "onnxruntime-node";
import sharp from "sharp";
import { preprocess } from "../web/pixels.js";
import { Bundle, Trainer } from "../web/spgraph.js";

/** The bundle in a folder. */
export const open = (folder) =>
  Bundle.open((name) =>
    readFile(join(folder, name)).catch((error) => {
      throw new Error(`${folder} is no bundle of \`spgraph rewrite\`: cannot read ${name} (${error.code})`);
    }),
  );

/** The folder's images, prepared, with their labels: one sub-folder for each of the bundle's classes. */
export async function load(folder, bundle) {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error) => {
    throw new Error(`${folder} is no folder of images with a sub-folder for each class (${error.code})`);
  });
  const found = entries.filter((e) => e.isDirectory()).map((e) => e.name).sort();
  const classes = bundle.manifest.classes ?? found, images = [];
  for (const name of found) {
    const label = classes.indexOf(name);
    if (label < 0) throw new Error(`${folder} has the folder \`${name}\`, which is no class of the network (${classes.join(", ")})`);
    for (const file of (await readdir(join(folder, name))).sort()) {
      const decoded = sharp(join(folder, name, file)).rotate().toColourspace("srgb").removeAlpha().raw().toBuffer({ resolveWithObject: true });
      const { data, info } = await decoded.catch((error) => {
        throw new Error(`cannot read the image ${join(folder, name, file)}: ${error.message}`);
      });
      images.push({ label, pixels: preprocess({ data, ...info }, bundle.manifest) });
    }
  }
  return images;
}

/** Images and labels of some rows, one behind the other. */
export function batch(images, rows) {
  const size = images[0].pixels.length, data = new Float32Array(rows.length * size);
  rows.forEach((row, k) => data.set(images[row].pixels, k * size));
  return [data, rows.map((row) => images[row].label)];
}

/** Whole or not at all. */
export async function write(path, data) {
  try {
    await writeFile(`${path}.part`, data);
    await rename(`${path}.part`, path);
  } catch (error) {
    await rm(`${path}.part`, { force: true });
    throw new Error(`cannot write ${path}: ${error.message}`);
  }
}

/** A number above 0, where there is one. */
function number(name, text) {
  if (text !== undefined && !(Number(text) > 0)) throw new Error(`--${name} is \`${text}\`, which is no number above 0`);
  return Number(text);
}

const shuffled = (count) => Array.from({ length: count }, (_, i) => [Math.random(), i]).sort((a, b) => a[0] - b[0]).map((pair) => pair[1]);

async function main() {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { epochs: { type: "string", default: "10" }, lr: { type: "string" }, weights: { type: "string" } } });
  if (positionals.length !== 3) throw new Error("usage: node finetune.mjs BUNDLE IMAGES OUT.onnx [--epochs 10] [--lr 0.01] [--weights FILE]");
  const epochs = number("epochs", values.epochs), rate = number("lr", values.lr);
  const [folder, photos, out] = positionals, bundle = await open(folder), images = await load(photos, bundle);
  const called = bundle.manifest.scalars.find((s) => s.meaning === "learning-rate").name;
  const trainer = await Trainer.create(ort, bundle), size = bundle.batch ?? Math.min(16, images.length);
  if (values.weights && existsSync(values.weights)) {
    await trainer.restore(await readFile(values.weights));
    console.log(`goes on after step ${trainer.steps}`);
  }
  for (let epoch = 0; epoch < epochs; epoch++) {
    const order = shuffled(images.length);
    let loss = 0, right = 0, steps = 0;
    for (let first = 0; first + size <= order.length; first += size, steps++) {
      const result = await trainer.step(...batch(images, order.slice(first, first + size)), values.lr ? { [called]: rate } : {});
      loss += result.loss;
      right += result.correct;
    }
    if (steps === 0) throw new Error(`${images.length} images fill no batch of ${size}: rewrite with a smaller --batch`);
    console.log(`epoch ${epoch + 1}  loss ${(loss / steps).toFixed(4)}  right ${right}/${steps * size}`);
    if (values.weights) await write(values.weights, await trainer.weights());
  }
  await write(out, await trainer.exported());
  console.log(`wrote ${out}`);
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) main().catch((error) => { console.error(`error: ${error.message}`); process.exitCode = 1; });
