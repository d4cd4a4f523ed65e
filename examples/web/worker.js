// The training, beside the page: onnxruntime-web with threads where the page is isolated, WebGPU where there is one.

import * as ort from "./vendor/ort.webgpu.min.mjs";
import { Bundle, Trainer } from "./spgraph.js";

ort.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 8) : 1;

let bundle, trainer, device, stopped;

async function read(base, name) {
  const answer = await fetch(new URL(name, base));
  if (!answer.ok) throw new Error(`${new URL(name, base).pathname} is not there (${answer.status}). In the page's folder, make a bundle: spgraph rewrite MODEL.onnx --classes 3 --batch dynamic -o bundle`);
  return new Uint8Array(await answer.arrayBuffer());
}

async function open({ base, device: asked, threads }) {
  if (threads > 0) ort.env.wasm.numThreads = Math.min(threads, ort.env.wasm.numThreads);
  bundle = await Bundle.open((name) => read(base, name));
  device = "CPU";
  const adapter = asked !== "cpu" ? await navigator.gpu?.requestAdapter().catch(() => null) : null;
  if (adapter) {
    try {
      await start({ executionProviders: ["webgpu"], onDevice: true });
      const { shape } = bundle.manifest.data.input, count = bundle.batch ?? 1, size = shape.slice(1).reduce((a, b) => a * b, 1);
      await trainer.step(new Float32Array(count * size), new Array(count).fill(0)); // compiles; and fails here where it can't
      await start({ executionProviders: ["webgpu"], onDevice: true });
      device = "WebGPU";
    } catch (error) {
      console.warn(`WebGPU is not used: ${error.message}`);
      trainer = null;
    }
  }
  if (!trainer) await start({ executionProviders: ["wasm"] });
  return { manifest: bundle.manifest, device, threads: ort.env.wasm.numThreads };
}

async function start(options) {
  trainer = await Trainer.create(ort, bundle, options);
}

/** Steps on `batches`, lists of rows of `images`; half of them mirrored where that is asked. Tells after each. */
async function train({ images, labels, batches, rate, mirror }) {
  stopped = false;
  const size = images.length / labels.length, scalar = bundle.manifest.scalars.find((s) => s.meaning === "learning-rate").name;
  for (const [step, rows] of batches.entries()) {
    if (stopped) break;
    const data = new Float32Array(rows.length * size);
    rows.forEach((row, k) => data.set(mirror && Math.random() < 0.5 ? mirrored(images.subarray(row * size, (row + 1) * size)) : images.subarray(row * size, (row + 1) * size), k * size));
    const started = performance.now();
    const result = await trainer.step(data, rows.map((row) => labels[row]), { [scalar]: rate });
    postMessage({ progress: { ...result, step: step + 1, of: batches.length, milliseconds: performance.now() - started } });
    await new Promise((done) => setTimeout(done)); // lets `stop` in
  }
  return { steps: trainer.steps };
}

function mirrored(image) {
  const { manifest } = bundle, last = manifest.preprocessing?.layout === "nhwc", shape = manifest.data.input.shape, out = new Float32Array(image.length);
  const [width, inner] = last ? [shape[2], shape[3]] : [shape[3], 1];
  for (let i = 0; i < image.length; i++) {
    const x = Math.floor(i / inner) % width;
    out[i + (width - 1 - 2 * x) * inner] = image[i];
  }
  return out;
}

const tasks = {
  open,
  train,
  predict: async ({ images }) => await trainer.predict(images),
  restart: async () => await start(device === "WebGPU" ? { executionProviders: ["webgpu"], onDevice: true } : { executionProviders: ["wasm"] }),
  model: async ({ classes }) => await trainer.exported(classes),
  weights: async () => await trainer.weights(),
};

let queue = Promise.resolve();
onmessage = ({ data: { id, task, ...given } }) => {
  if (task === "stop") {
    stopped = true;
    return;
  }
  queue = queue.then(async () => {
    try {
      postMessage({ id, result: await tasks[task](given) });
    } catch (error) {
      postMessage({ id, error: error.message ?? String(error) });
    }
  });
};
