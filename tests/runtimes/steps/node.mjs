// `node.mjs BUNDLE BATCHES STEPS RATE WEIGHTS` in onnxruntime-node. BUNDLE may be one file, of the artifact `single`. Takes the packages of examples/node.

import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { open, write } from "../../../examples/node/finetune.mjs";
import { Trainer } from "../../../examples/web/spgraph.js";

const ort = createRequire(new URL("../../../examples/node/", import.meta.url))("onnxruntime-node");
const [bundle, file, steps, rate, weights] = process.argv.slice(2);
const options = { intraOpNumThreads: Number(process.env.THREADS ?? 1), logSeverityLevel: 3 };
const bytes = await readFile(file);
const size = (shape) => shape.reduce((a, b) => a * b, 1);

/** Images and labels of each step. */
function* batches({ input, target }) {
  const [pixels, labels] = [size(input.shape) * 4, size(target.shape) * 8];
  if (bytes.length !== steps * (pixels + labels)) throw new Error(`${file} is not ${steps} batches of this bundle`);
  const part = (at, length) => Uint8Array.from(bytes.subarray(at, at + length)).buffer;
  for (let k = 0; k < steps; k++) yield [new Float32Array(part(k * pixels, pixels)), new BigInt64Array(part(steps * pixels + k * labels, labels))];
}

async function whole(trained) {
  let step = 0;
  for (const [images, labels] of batches(trained.bundle.manifest.data)) {
    const { loss } = await trained.step(images, labels, { [trained.bundle.manifest.scalars.find((s) => s.meaning === "learning-rate").name]: Number(rate) });
    console.log(`step ${++step}  loss ${loss.toFixed(6)}`);
  }
  await write(weights, await trained.weights());
}

if (bundle.endsWith(".onnx")) {
  // This binding gives no metadata, so the manifest is that of the bundle beside the file.
  const manifest = JSON.parse(await readFile(process.env.MANIFEST, "utf8")), session = await ort.InferenceSession.create(bundle, options);
  const unseen = manifest.state.filter((s) => !session.inputNames.includes(s.input));
  if (unseen.length) throw new Error(`${unseen.length} inputs with a default are unknown to it, and what is fed to them would be dropped without a word`);
  const { input, target } = manifest.data, named = (list, meaning) => list.find((e) => e.meaning === meaning).name;
  let state = {}, step = 0, found;
  for (const [images, labels] of batches(manifest.data)) {
    const rateOf = new ort.Tensor("float32", Float32Array.of(Number(rate)), []);
    found = await session.run({ [input.name]: new ort.Tensor("float32", images, input.shape), [target.name]: new ort.Tensor("int64", labels, target.shape), [named(manifest.scalars, "learning-rate")]: rateOf, ...state });
    state = Object.fromEntries(manifest.state.map((s) => [s.input, found[s.output]]));
    console.log(`step ${++step}  loss ${found[named(manifest.outputs, "loss")].data[0].toFixed(6)}`);
  }
  const header = {}, body = [];
  for (const s of manifest.state) {
    const { buffer, byteOffset, byteLength } = found[s.output].data, data = Buffer.from(buffer, byteOffset, byteLength), at = body.reduce((n, b) => n + b.length, 0);
    header[s.name] = { dtype: "F32", shape: s.shape, data_offsets: [at, at + data.length] };
    body.push(data);
  }
  const text = Buffer.from(JSON.stringify(header)), length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  await writeFile(weights, Buffer.concat([length, text, ...body]));
} else {
  await whole(await Trainer.create(ort, await open(bundle), options));
}
