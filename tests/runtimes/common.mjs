// What the tests of runtimes in JavaScript share: the binary, a bundle with images and a run, safetensors, comparison.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
export const STEPS = 10, BATCH = 12, LR = Number(process.env.LR ?? 0.01);

export const spgraph = (...args) => execFileSync(process.env.SPGRAPH ?? join(ROOT, "target/release/spgraph"), args.map(String), { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

/** A folder with images, a bundle and what `finetune` makes of them in ten steps. IMAGES, CLASSES, MODEL and LR in the environment are others than the repository's own. */
export function prepare(name, ...options) {
  const work = mkdtempSync(join(tmpdir(), `spgraph-${name}-`));
  const model = process.env.MODEL ?? join(ROOT, "models/resnet20-source.onnx");
  const images = process.env.IMAGES ?? join(work, "images");
  if (!process.env.IMAGES) spgraph("synth", "--task", "target-a", "--per-class", 10, "--size", 50, "-o", images);
  const count = Number(process.env.CLASSES ?? 6);
  spgraph("rewrite", model, "--classes", count, "--class-names-from", images, "--batch", BATCH, "-o", join(work, "bundle"), ...options);
  spgraph("finetune", join(work, "bundle"), "--data", images, "--steps", STEPS, "--schedule", "constant", "--warmup", 0, "--lr", LR, "--threads", 1, "-o", join(work, "run"));
  const losses = readFileSync(join(work, "run/metrics.jsonl"), "utf8").trim().split("\n").map((l) => JSON.parse(l)).filter((r) => r.kind === "step").map((r) => r.loss);
  return { work, images, bundle: join(work, "bundle"), run: join(work, "run"), losses };
}

/** The float32 tensors of a safetensors file by name. */
export function tensors(file) {
  const length = Number(file.readBigUInt64LE(0)), header = JSON.parse(file.subarray(8, 8 + length).toString()), found = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__" || entry.dtype !== "F32") continue;
    found[name] = new Float32Array(Uint8Array.from(file.subarray(8 + length + entry.data_offsets[0], 8 + length + entry.data_offsets[1])).buffer);
  }
  return found;
}

/** The largest norm-relative difference over the tensors of `expected`; infinite where one is missing. */
export function difference(found, expected) {
  let worst = 0;
  for (const [name, tensor] of Object.entries(expected)) {
    if (found[name]?.length !== tensor.length) return Infinity;
    const square = (f) => tensor.reduce((sum, v, i) => sum + f(v, found[name][i]) ** 2, 0);
    const [error, norm] = [square((a, b) => a - b), square((a) => a)];
    worst = Math.max(worst, norm ? Math.sqrt(error / norm) : error ? Infinity : 0);
    if (Number.isNaN(worst) || Number.isNaN(error)) return Infinity;
  }
  return worst;
}
