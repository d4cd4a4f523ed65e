// `web.mjs BUNDLE BATCHES STEPS RATE WEIGHTS` in Chromium, which CHROMIUM names, through the page's own worker. BUNDLE may be one file, of the artifact `single`:
// then onnxruntime-web takes one step, and what this gave is fed to a second. Takes the packages of examples/web.

import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serve, vendor } from "../../../examples/web/server.mjs";

const puppeteer = createRequire(new URL("../../../examples/web/", import.meta.url))("puppeteer-core");
const [bundle, file, steps, rate, weights] = process.argv.slice(2);
const work = await mkdtemp(join(tmpdir(), "spgraph-web-")), served = join(work, "bundle");
const single = bundle.endsWith(".onnx");
await cp(bundle, single ? join(served, "step.onnx") : served, { recursive: true });
await cp(file, join(served, "batches.bin"));
await vendor();
const server = await serve(0, { bundle: served });
const browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", userDataDir: join(work, "profile"), args: ["--no-sandbox"], protocolTimeout: 600_000 });
try {
  const page = await browser.newPage(), address = `http://localhost:${server.address().port}`;
  page.on("console", (message) => message.text().startsWith("step ") && console.log(message.text()));
  if (single) {
    await page.goto(`${address}/style.css`);
    const manifest = JSON.parse(await readFile(process.env.MANIFEST, "utf8"));
    await page.evaluate(async ({ data, state }) => {
      const ort = await import("/vendor/ort.webgpu.min.mjs");
      ort.env.wasm.wasmPaths = new URL("/vendor/", location.href).href;
      const session = await ort.InferenceSession.create(new Uint8Array(await (await fetch("/bundle/step.onnx")).arrayBuffer()), { executionProviders: ["wasm"], logSeverityLevel: 3 });
      const count = (shape) => shape.reduce((a, b) => a * b, 1);
      const batch = { [data.input.name]: new ort.Tensor("float32", new Float32Array(count(data.input.shape)), data.input.shape), [data.target.name]: new ort.Tensor("int64", new BigInt64Array(count(data.target.shape)), data.target.shape) };
      const found = await session.run(batch);
      await session.run({ ...batch, ...Object.fromEntries(state.map((s) => [s.input, found[s.output]])) });
    }, manifest);
    throw new Error("it takes inputs with a default now: train the file");
  }
  await page.goto(`${address}/?cache=no&device=cpu&threads=${process.env.THREADS ?? 1}`);
  await page.waitForFunction(() => document.querySelectorAll(".class").length || document.querySelector("#problem").textContent, { timeout: 600_000 });
  const problem = await page.$eval("#problem", (e) => e.textContent);
  if (problem) throw new Error(problem);
  const found = await page.evaluate(async (steps, rate) => {
    const manifest = await (await fetch("bundle/manifest.json")).json(), bytes = await (await fetch("bundle/batches.bin")).arrayBuffer();
    const size = (port) => manifest.data[port].shape.reduce((a, b) => a * b, 1);
    const images = new Float32Array(bytes, 0, steps * size("input")), labels = [...new BigInt64Array(bytes.slice(images.byteLength))].map(Number);
    const count = manifest.data.input.shape[0], batches = Array.from({ length: steps }, (_, k) => Array.from({ length: count }, (_, i) => k * count + i));
    app.watch = ({ step, loss, milliseconds }) => console.log(`step ${step}  loss ${loss.toFixed(6)}  seconds ${(milliseconds / 1000).toFixed(6)}`);
    await app.call("train", { images, labels, batches, rate, mirror: false });
    const blob = new Blob([await app.call("weights")]), reader = new FileReader();
    return await new Promise((done) => ((reader.onload = () => done(reader.result.split(",")[1])), reader.readAsDataURL(blob)));
  }, Number(steps), Number(rate));
  await writeFile(weights, Buffer.from(found, "base64"));
} catch (error) {
  console.error(`error: ${error.message}`);
  process.exitCode = 1;
} finally {
  await browser.close();
  server.closeAllConnections();
  server.close();
  await rm(work, { recursive: true, force: true });
}
