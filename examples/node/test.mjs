// `npm test`: ten steps in Node give the weights of `spgraph finetune`, and the export those of `spgraph export`.

import assert from "node:assert/strict";
import { cp, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import * as ort from "onnxruntime-node";
import { Trainer } from "../web/spgraph.js";
import { BATCH, LR, ROOT, STEPS, difference, prepare, spgraph, tensors } from "../../tests/runtimes/common.mjs";
import { batches } from "../../tests/runtimes/order.mjs";
import { batch, load, open, write } from "./finetune.mjs";

const lab = prepare("node");

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
  // Weights, a step and a start of other bundles, and a step with an operator that this runtime lacks.
  const rewritten = (name, ...options) => spgraph("rewrite", process.env.MODEL ?? join(ROOT, "models/resnet20-source.onnx"), "--classes", 6, "--batch", BATCH, "-o", join(lab.work, name), ...options);
  rewritten("seed", "--seed", 1);
  rewritten("adamw", "--optimizer", "adamw");
  const others = await Trainer.create(ort, await open(join(lab.work, "seed")));
  await assert.rejects(trainer.restore(await others.weights()), /weights of another bundle/);
  const mixed = async (file, from) => {
    await cp(lab.bundle, join(lab.work, from + file), { recursive: true });
    await cp(join(lab.work, from, file), join(lab.work, from + file, file));
    return Trainer.create(ort, await open(join(lab.work, from + file)));
  };
  await assert.rejects(mixed("step.onnx", "seed"), /not the step of this bundle/);
  await assert.rejects(mixed("init.onnx", "adamw"), /init.onnx gives no/);
  const own = await readFile(join(lab.bundle, "step.onnx")), text = own.toString("latin1"), operator = text.replaceAll("\"\x04Conv", "\"\x04Cunv");
  assert.notEqual(operator, text);
  await cp(lab.bundle, join(lab.work, "lacking"), { recursive: true });
  await writeFile(join(lab.work, "lacking", "step.onnx"), Buffer.from(operator, "latin1"));
  await assert.rejects(async () => Trainer.create(ort, await open(join(lab.work, "lacking"))), /cannot run step.onnx.*Cunv with domain_version of 17/s);
  await writeFile(join(lab.bundle, "manifest.json"), (await readFile(join(lab.bundle, "manifest.json"), "utf8")).replace('"format": 2', '"format": 3'));
  await assert.rejects(open(lab.bundle), /format 3/);
});
