// `npm test`: ten steps in Node give the weights of `spgraph finetune`, and the export those of `spgraph export`.

import assert from "node:assert/strict";
import { cp, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import * as ort from "onnxruntime-node";
import { blake3 } from "../web/blake3.js";
import { Trainer } from "../web/spgraph.js";
import { BATCH, LR, ROOT, STEPS, difference, prepare, spgraph, tensors } from "../../tests/runtimes/common.mjs";
import { batches } from "../../tests/runtimes/order.mjs";
import { batch, load, open, write } from "./finetune.mjs";

const lab = prepare("node");

const trainedOn = async (folder) => Trainer.create(ort, await open(folder));

async function trained(steps = STEPS) {
  const bundle = await open(lab.bundle), images = await load(lab.images, bundle), trainer = await Trainer.create(ort, bundle), losses = [];
  for (const rows of batches(images.length, BATCH, STEPS).slice(0, steps)) losses.push((await trainer.step(...batch(images, rows), { lr: LR })).loss);
  return { trainer, losses, images };
}

test("the weights are those of finetune", async () => {
  const { trainer, losses } = await trained();
  assert.equal(lab.losses.length, STEPS);
  losses.forEach((loss, k) => assert.ok(Math.abs(loss / lab.losses[k] - 1) < 1e-4, `step ${k + 1}: ${loss}, not ${lab.losses[k]}`));
  const found = difference(tensors(Buffer.from(await trainer.weights())), tensors(await readFile(join(lab.run, "state.safetensors"))));
  console.log(`largest difference of a tensor ${found.toExponential(1)}`);
  assert.ok(found < 1e-4, `${found}`);
});

test("the exported model is that of spgraph export", async () => {
  const { trainer, images } = await trained();
  await write(join(lab.work, "own.onnx"), await trainer.exported());
  await write(join(lab.work, "weights.safetensors"), await trainer.weights());
  spgraph("export", lab.bundle, "--weights", join(lab.work, "weights.safetensors"), "-o", join(lab.work, "theirs.onnx"));
  const drift = JSON.parse(spgraph("drift", join(lab.work, "own.onnx"), join(lab.work, "theirs.onnx"), "--json"));
  assert.equal(drift.total, 0, JSON.stringify(drift).slice(0, 300));
  const [data] = batch(images, [...Array(BATCH).keys()]), outputs = [];
  for (const name of ["own", "theirs"]) {
    const session = await ort.InferenceSession.create(join(lab.work, `${name}.onnx`));
    outputs.push((await session.run({ input: new ort.Tensor("float32", data, [BATCH, 3, 32, 32]) })).logits.data);
  }
  assert.deepEqual(outputs[0], outputs[1]);
  const scores = (await trainer.predict(data)).flat();
  scores.forEach((s, i) => assert.ok(Math.abs(s - outputs[0][i]) < 1e-3 * (1 + Math.abs(s))));
  assert.deepEqual((await readdir(lab.work)).filter((n) => n.endsWith(".part")), []);
});

test("training goes on from a file to the same bits", async () => {
  const { trainer: through } = await trained(4), { trainer: first, images } = await trained(2), { trainer: second } = await trained(0);
  await second.restore(await first.weights());
  for (const rows of batches(images.length, BATCH, STEPS).slice(2, 4)) await second.step(...batch(images, rows), { lr: LR });
  assert.deepEqual(await second.weights(), await through.weights());
});

test("files are known by BLAKE3", () => {
  // By the package blake3 of PyPI, of the bytes 0 to 250 over and over, as in the test vectors of BLAKE3's authors.
  const hashes = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    64: "4eed7141ea4a5cd4b788606bd23f46e212af9cacebacdc7d1f4c6dc7f2511b98",
    65: "de1e5fa0be70df6d2be8fffd0e99ceaa8eb6e8c93a63f2d8d1c30ecb6b263dee",
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    1025: "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
    2048: "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a",
    3073: "7124b49501012f81cc7f11ca069ec9226cecb8a2c850cfe644e327d22d3e1cd3",
    4097: "9b4052b38f1c5fc8b1f9ff7ac7b27cd242487b3d890d15c96a1c25b8aa0fb995",
    7168: "61da957ec2499a95d6b8023e2b0e604ec7f6b50e80a9678b89d2628e99ada77a",
    8193: "bab6c09cb8ce8cf459261398d2e7aef35700bf488116ceb94a36d0f5f1b7bc3b",
    31744: "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47",
    102400: "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
  };
  for (const [length, hash] of Object.entries(hashes)) assert.equal(blake3(Uint8Array.from({ length: Number(length) }, (_, i) => i % 251)), hash, length);
});

test("what does not fit is refused", async () => {
  const { trainer, images } = await trained(0), [data, labels] = batch(images, [...Array(BATCH).keys()]);
  await assert.rejects(trainer.step(data.subarray(1), labels), /no images of 3×32×32, 12 of them/);
  await assert.rejects(trainer.step(data, labels.slice(1)), /11 labels/);
  await assert.rejects(trainer.step(data, labels.map(() => 6)), /label 6 is none of the 6/);
  await assert.rejects(trainer.step(data, labels, { gamma: 1 }), /no scalar `gamma`/);
  await assert.rejects(trainer.step(data.map(() => NaN), labels), /lower rate/);
  await assert.rejects(trainer.restore(new Uint8Array(4)), /no safetensors/);
  const weights = await trainer.weights();
  await assert.rejects(trainer.restore(weights.subarray(0, weights.length - 4)), /cut off/);
  assert.equal(trainer.steps, 0);
  await assert.rejects(write(join(lab.work, "no", "weights"), weights), /cannot write/);
  await assert.rejects(write(lab.images, weights), /cannot write/);
  assert.deepEqual((await readdir(lab.work)).filter((n) => n.endsWith(".part")), []);
  // Weights, a step and a start of other bundles, and a step with an operator that this runtime lacks.
  const rewritten = (name, ...options) => spgraph("rewrite", process.env.MODEL ?? join(ROOT, "models/resnet20-source.onnx"), "--classes", 6, "--batch", BATCH, "-o", join(lab.work, name), ...options);
  rewritten("seed", "--seed", 1);
  rewritten("adamw", "--optimizer", "adamw");
  const others = await trainedOn(join(lab.work, "seed"));
  await assert.rejects(trainer.restore(await others.weights()), /weights of another bundle/);
  const mixed = async (file, from) => {
    await cp(lab.bundle, join(lab.work, from + file), { recursive: true });
    await cp(join(lab.work, from, file), join(lab.work, from + file, file));
    return trainedOn(join(lab.work, from + file));
  };
  await assert.rejects(mixed("step.onnx", "seed"), /not the step of this bundle/);
  // The start of the same network with another head, one of other tensors, and one flipped bit.
  await assert.rejects(mixed("init.onnx", "seed"), /init.onnx was changed since it was written, or is of another bundle/);
  await assert.rejects(mixed("init.onnx", "adamw"), /init.onnx was changed/);
  const flipped = join(lab.work, "flipped");
  await cp(lab.bundle, flipped, { recursive: true });
  for (const [name, refused] of [["step.onnx", () => trainedOn(flipped)], ["eval.onnx", async () => (await trainedOn(flipped)).predict(data)], ["template.onnx", async () => (await trainedOn(flipped)).exported()]]) {
    const whole = await readFile(join(flipped, name));
    await writeFile(join(flipped, name), whole.map((byte, i) => (i === whole.length - 1 ? byte ^ 1 : byte)));
    await assert.rejects(refused, new RegExp(`${name} was changed since it was written`));
    await writeFile(join(flipped, name), whole);
  }
  // Bundles of older versions know no hashes; what they start from is still held against the manifest.
  const unhashed = join(lab.work, "adamwinit.onnx", "manifest.json"), { files, ...rest } = JSON.parse(await readFile(unhashed, "utf8"));
  await writeFile(unhashed, JSON.stringify(rest));
  await assert.rejects(trainedOn(join(lab.work, "adamwinit.onnx")), /init.onnx gives no/);
  const own = await readFile(join(lab.bundle, "step.onnx")), text = own.toString("latin1"), operator = text.replaceAll("\"\x04Conv", "\"\x04Cunv");
  assert.notEqual(operator, text);
  await cp(lab.bundle, join(lab.work, "lacking"), { recursive: true });
  await writeFile(join(lab.work, "lacking", "step.onnx"), Buffer.from(operator, "latin1"));
  const manifest = join(lab.work, "lacking", "manifest.json"), known = await readFile(manifest, "utf8");
  await writeFile(manifest, known.replace(blake3(own), blake3(Buffer.from(operator, "latin1"))));
  await assert.rejects(trainedOn(join(lab.work, "lacking")), /cannot run step.onnx.*Cunv with domain_version of 17/s);
  await writeFile(join(lab.bundle, "manifest.json"), (await readFile(join(lab.bundle, "manifest.json"), "utf8")).replace('"format": 2', '"format": 3'));
  await assert.rejects(open(lab.bundle), /format 3/);
});
