// `npm test`: Chromium drives the page on pictures. SHOTS names a folder for screenshots; WEBGPU=swiftshader tries WebGPU on the processor.

import assert from "node:assert/strict";
import { cp, readFile, readdir, mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import puppeteer from "puppeteer-core";
import { BATCH, LR, ROOT, STEPS, difference, prepare, spgraph, tensors } from "../../tests/runtimes/common.mjs";
import { batches } from "../../tests/runtimes/order.mjs";
import { serve, vendor } from "./server.mjs";

const lab = prepare("web"), shots = process.env.SHOTS;
let browser, server, files;

before(async () => {
  await vendor();
  server = await serve(0, { bundle: lab.bundle });
  const gpu = process.env.WEBGPU === "swiftshader" ? ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"] : [];
  browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    userDataDir: await mkdtemp(join(tmpdir(), "spgraph-chromium-")),
    args: ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", ...gpu],
    protocolTimeout: 600_000,
  });
  const names = (await readdir(lab.images, { withFileTypes: true })).filter((e) => e.isDirectory()).map((e) => e.name).sort();
  files = await Promise.all(names.map(async (n) => (await readdir(join(lab.images, n))).sort().map((f) => join(lab.images, n, f))));
});

after(async () => {
  await browser?.close();
  server?.close();
});

async function open(query = "?cache=no&device=cpu", on = server) {
  const page = await browser.newPage();
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(error.message));
  for (const source of process.env.VERBOSE ? ["console"] : []) page.on(source, (message) => console.log(message.text()));
  page.on("workercreated", (worker) => worker.on?.("console", (message) => process.env.VERBOSE && console.log(message.text())));
  await page.setViewport({ width: 1000, height: 900 });
  await page.goto(`http://localhost:${on.address().port}/${query}`);
  await page.waitForSelector(".class", { timeout: process.env.WEBGPU ? 400_000 : 240_000 });
  return page;
}

/** Gives each class its pictures, as a person does. */
async function give(page, per = 1000) {
  const inputs = await page.$$(".class input[type=file]");
  assert.equal(inputs.length, files.length);
  for (const [k, input] of inputs.entries()) await input.uploadFile(...files[k].slice(0, per));
  const due = files.reduce((n, f) => n + Math.min(f.length, per), 0);
  await page.waitForFunction((due) => document.querySelectorAll(".thumbs img").length === due, {}, due);
}

const bytes = async (page, task, given) =>
  Buffer.from(await page.evaluate(async (task, given) => {
    const blob = new Blob([await app.call(task, given)]), reader = new FileReader();
    return await new Promise((done) => ((reader.onload = () => done(reader.result.split(",")[1])), reader.readAsDataURL(blob)));
  }, task, given), "base64");

const shoot = async (page, name) => shots && (await mkdir(shots, { recursive: true }), await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true }));

test("ten steps give the weights of finetune, and the export of spgraph export", async () => {
  const page = await open(process.env.WEBGPU ? "?cache=no" : undefined);
  assert.ok(await page.evaluate(() => crossOriginIsolated));
  console.log(await page.$eval("#where", (e) => e.textContent));
  await give(page);
  const rows = batches(files.flat().length, BATCH, STEPS);
  await page.evaluate((batches, rate) => app.train({ batches, rate, mirror: false }), rows, LR);
  const weights = await bytes(page, "weights");
  const found = difference(tensors(weights), tensors(await readFile(join(lab.run, "state.safetensors"))));
  console.log(`largest difference of a tensor ${found.toExponential(1)}`);
  assert.ok(found < 1e-4, `${found}`);

  const names = JSON.parse(await readFile(join(lab.bundle, "manifest.json"))).classes;
  await writeFile(join(lab.work, "own.onnx"), await bytes(page, "model", { classes: names }));
  await writeFile(join(lab.work, "weights.safetensors"), weights);
  spgraph("export", lab.bundle, "--weights", join(lab.work, "weights.safetensors"), "-o", join(lab.work, "theirs.onnx"));
  assert.equal(JSON.parse(spgraph("drift", join(lab.work, "own.onnx"), join(lab.work, "theirs.onnx"), "--json")).total, 0);
  const said = JSON.parse(spgraph("predict", join(lab.work, "own.onnx"), files[2][0], "--json"));
  const classified = await page.evaluate(async (data) => app.classify(await (await fetch(data)).blob()), `data:image/png;base64,${(await readFile(files[2][0])).toString("base64")}`);
  const likeliest = JSON.stringify(said).match(/"(?:class|name)":"([^"]+)"/)[1];
  assert.equal(classified[0][1], likeliest);
  assert.deepEqual(page.problems, []);
  await page.close();
});

test("a person trains, stops, goes on, classifies and downloads", async () => {
  const page = await open();
  assert.ok(await page.$eval("#train", (e) => e.disabled));
  await give(page, 8);
  await page.$eval("#epochs", (e) => (e.value = 60));
  await page.click("#train");
  await page.waitForFunction(() => document.querySelector("#progress").textContent.startsWith("Step 3"));
  await page.click("#stop");
  await page.waitForFunction(() => !document.querySelector("#train").disabled);
  const steps = async () => page.$eval("#curve .each", (e) => e.getAttribute("points").split(" ").length);
  const stopped = await steps();
  assert.ok(stopped < 200);
  await page.$eval("#epochs", (e) => (e.value = 12));
  await page.click("#train");
  await page.waitForFunction(() => document.querySelector("#progress").textContent.startsWith("Trained"), { timeout: 300_000 });
  assert.ok((await steps()) > stopped);
  assert.ok((await page.$eval("#chart", (e) => e.getBoundingClientRect().height)) > 100);
  await (await page.$("#try input")).uploadFile(files[3][8]);
  await page.waitForSelector("#bars li");
  await shoot(page, "light");
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "dark" }]);
  await shoot(page, "dark");
  await page.setViewport({ width: 380, height: 800 });
  await shoot(page, "narrow");
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page is wider than a narrow window");
  const folder = await mkdtemp(join(tmpdir(), "spgraph-download-"));
  await (await page.createCDPSession()).send("Browser.setDownloadBehavior", { behavior: "allow", downloadPath: folder });
  await page.click("#model");
  for (let k = 0; k < 100 && !(await readdir(folder)).includes("tuned.onnx"); k++) await new Promise((done) => setTimeout(done, 100));
  assert.match(spgraph("inspect", join(folder, "tuned.onnx")), /classes/);
  // Pictures that are dropped, and one that the camera takes for a class: Chromium's test picture. What is no picture is left where it is.
  const held = () => page.$$eval(".class", (all) => all.map((c) => c.querySelectorAll(".thumbs img").length));
  const had = await held();
  await page.evaluate(async (pictures) => {
    const transfer = new DataTransfer();
    for (const [k, data] of pictures.entries()) transfer.items.add(new File([await (await fetch(data)).blob()], `${k}.png`, { type: "image/png" }));
    transfer.items.add(new File(["words"], "words.txt", { type: "text/plain" }));
    document.querySelector(".class .drop").dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }, await Promise.all(files[0].slice(0, 2).map(async (f) => `data:image/png;base64,${(await readFile(f)).toString("base64")}`)));
  await page.waitForFunction((due) => document.querySelectorAll(".class .thumbs")[0].children.length === due, {}, had[0] + 2);
  await page.click(".class .count button");
  await page.waitForFunction(() => document.querySelector("#video").videoWidth > 0);
  assert.match(await page.$eval("#snap", (e) => e.textContent), /^Take a picture for /);
  await page.click("#snap");
  await page.waitForFunction((due) => document.querySelectorAll(".class .thumbs")[0].children.length === due, {}, had[0] + 3);
  assert.deepEqual(await held(), [had[0] + 3, ...had.slice(1)]);
  await shoot(page, "camera");
  await page.click("#close");
  // The camera for what is tried.
  await page.click("#look");
  await page.waitForFunction(() => document.querySelector("#video").videoWidth > 0);
  const before = await page.$eval("#shown", (e) => e.src);
  await page.click("#snap");
  await page.waitForFunction((src) => document.querySelector("#shown").src !== src, {}, before);
  // What is no picture is said, and nothing changes.
  const count = (await page.$$(".thumbs img")).length;
  await (await page.$(".class input[type=file]")).uploadFile(join(lab.bundle, "manifest.json"));
  await page.waitForFunction(() => document.querySelector("#problem").textContent.includes("manifest.json is no picture"));
  assert.equal((await page.$$(".thumbs img")).length, count);
  assert.deepEqual(page.problems, []);
  await page.close();
});

test("without a network, and from a server that isolates nothing", async () => {
  const plain = await serve(0, { bundle: lab.bundle, headers: false });
  let page = await open("?device=cpu", plain);
  await page.waitForFunction(() => crossOriginIsolated && document.querySelectorAll(".class").length > 0);
  const closed = new Promise((done) => plain.close(done));
  plain.closeAllConnections();
  await closed;
  await page.close();
  page = await open("?device=cpu", { address: () => ({ port: plain.port ?? page.url().match(/:(\d+)/)[1] }) });
  await give(page, 2);
  await page.evaluate((rows) => app.train({ batches: [rows], rate: 0.01, mirror: false }), [...Array(BATCH).keys()]);
  assert.match(await page.$eval("#progress", (e) => e.textContent), /^Trained 1 steps/);
  await page.close();
});

test("a bundle that is none is said", async () => {
  // A server of its own, on which nothing is kept yet.
  const empty = await serve(0, { bundle: join(lab.work, "nothing") });
  const page = await browser.newPage();
  for (const query of ["?device=cpu", "?device=cpu&bundle=other/"]) {
    await page.goto(`http://localhost:${empty.address().port}/${query}`);
    await page.waitForFunction(() => /manifest.json is not there \(404\).*spgraph rewrite/.test(document.querySelector("#problem").textContent), { timeout: 240_000 });
    assert.equal(await page.$eval("#where", (e) => e.textContent), "No network is loaded.");
  }
  await shoot(page, "none");
  await page.close();
  empty.close();
});

test("a bundle elsewhere, and a step and a start of another bundle", async () => {
  const elsewhere = await serve(0, { bundle: lab.bundle, at: "other" });
  const page = await open("?device=cpu&bundle=other/", elsewhere);
  assert.equal((await page.$$(".class")).length, files.length);
  await page.close();
  elsewhere.close();
  await cp(lab.bundle, join(lab.work, "mixed"), { recursive: true });
  spgraph("rewrite", process.env.MODEL ?? join(ROOT, "models/resnet20-source.onnx"), "--classes", 6, "--batch", BATCH, "--seed", 1, "-o", join(lab.work, "seed"));
  await cp(join(lab.work, "seed", "step.onnx"), join(lab.work, "mixed", "step.onnx"));
  const mixed = await serve(0, { bundle: join(lab.work, "mixed") }), refused = await browser.newPage();
  await refused.goto(`http://localhost:${mixed.address().port}/?device=cpu`);
  await refused.waitForFunction(() => document.querySelector("#problem").textContent.includes("not the step of this bundle"), { timeout: 240_000 });
  // And its start, which the manifest knows by its hash.
  await cp(join(lab.bundle, "step.onnx"), join(lab.work, "mixed", "step.onnx"));
  await cp(join(lab.work, "seed", "init.onnx"), join(lab.work, "mixed", "init.onnx"));
  await refused.reload();
  await refused.waitForFunction(() => document.querySelector("#problem").textContent.includes("init.onnx was changed since it was written"), { timeout: 240_000 });
  await refused.close();
  mixed.close();
});
