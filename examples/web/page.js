// The page: pictures, the curve, the answer. The network is in worker.js.

import { preprocess } from "./pixels.js";

const $ = (id) => document.getElementById(id);
const asked = new URLSearchParams(location.search);
const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
const waiting = new Map();
let last = 0, manifest, classes = [], losses = [], busy = false, target = null, stream = null;

function call(task, given = {}, transfer = []) {
  const id = ++last;
  worker.postMessage({ id, task, ...given }, transfer);
  return new Promise((done, fail) => waiting.set(id, { done, fail }));
}

worker.onmessage = ({ data }) => {
  if (data.progress) return (window.app.watch ?? progressed)(data.progress);
  const { done, fail } = waiting.get(data.id);
  waiting.delete(data.id);
  data.error ? fail(new Error(data.error)) : done(data.result);
};
worker.onerror = (event) => say(`The network could not be started: ${event.message ?? "see the console"}`);

function say(problem) {
  $("problem").textContent = problem ?? "";
  $("problem").hidden = !problem;
}

/** A handler that shows what fails. */
const safely = (f) => async (...args) => {
  say();
  try {
    return await f(...args);
  } catch (error) {
    say(error.message);
  }
};

/** A file's pixels; pictures are turned as their EXIF data say. */
async function decode(blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" });
  } catch {
    throw new Error(`${blob.name ?? "This"} is no picture that the browser can read.`);
  }
  const { width, height } = bitmap, context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { data: context.getImageData(0, 0, width, height).data, width, height, channels: 4 };
}

function show() {
  for (const c of classes) c.count.textContent = `${c.pictures.length} picture${c.pictures.length === 1 ? "" : "s"}`;
  const all = classes.flatMap((c) => c.pictures).length, least = Number(manifest.data.input.shape[0]), empty = classes.filter((c) => !c.pictures.length);
  const ready = !empty.length && all >= Math.max(least, 2);
  $("train").disabled = busy || !ready;
  if (!busy && !losses.length) {
    $("progress").textContent = ready ? "Ready." : empty.length ? "Give every class pictures first." : `This network is trained ${least} pictures at a time: ${least - all} more are needed.`;
  }
  $("model").disabled = $("weights").disabled = busy || !losses.length;
}

async function add(c, files) {
  const failed = [];
  for (const file of files) {
    try {
      const pixels = preprocess(await decode(file), manifest), picture = { pixels }, img = document.createElement("img");
      img.src = URL.createObjectURL(file);
      img.alt = img.title = "Click to remove";
      img.onclick = () => {
        c.pictures.splice(c.pictures.indexOf(picture), 1);
        URL.revokeObjectURL(img.src);
        img.remove();
        show();
      };
      c.pictures.push(picture);
      c.thumbs.append(img);
    } catch (error) {
      failed.push(error.message);
    }
  }
  show();
  if (failed.length) throw new Error(failed.join(" "));
}

/** Makes `element` take dropped and chosen pictures. */
function takes(element, f, several) {
  const input = element.querySelector("input");
  input.multiple = several;
  input.onchange = async () => {
    await f([...input.files]);
    input.value = "";
  };
  input.onclick = (event) => event.stopPropagation();
  element.onclick = () => input.click();
  element.onkeydown = (event) => ["Enter", " "].includes(event.key) && (event.preventDefault(), input.click());
  element.ondragover = (event) => (event.preventDefault(), element.classList.add("over"));
  element.ondragleave = () => element.classList.remove("over");
  element.ondrop = (event) => {
    event.preventDefault();
    element.classList.remove("over");
    f([...event.dataTransfer.files].filter((file) => file.type.startsWith("image/")));
  };
}

function card(name, label) {
  const box = document.createElement("div");
  box.className = "class";
  box.innerHTML = `<input aria-label="Name of class ${label + 1}"><div class="drop" tabindex="0" role="button">Drop pictures here, or click<input type="file" accept="image/*" hidden></div><div class="thumbs"></div><div class="count"><span></span><button type="button" class="quiet">Camera</button></div>`;
  const c = { pictures: [], name: box.querySelector("input"), thumbs: box.querySelector(".thumbs"), count: box.querySelector(".count span") };
  c.name.value = name;
  takes(box.querySelector(".drop"), safely((files) => add(c, files)), true);
  box.querySelector("button").onclick = safely(() => camera(c));
  $("classes").append(box);
  return c;
}

async function camera(c) {
  if (!navigator.mediaDevices?.getUserMedia) throw new Error("This browser gives pages no camera; it does over https or from localhost.");
  try {
    stream ??= await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    throw new Error(`No camera could be used (${error.name}). Allow it, or choose files.`);
  }
  target = c;
  $("video").srcObject = stream;
  await $("video").play();
  $("camera").hidden = false;
  $("camera").scrollIntoView({ block: "nearest" });
  $("snap").textContent = c ? `Take a picture for ${c.name.value}` : "Classify what is seen";
}

$("snap").onclick = safely(async () => {
  const video = $("video"), canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await canvas.convertToBlob({ type: "image/png" });
  await (target ? add(target, [blob]) : classify(blob));
});
$("close").onclick = () => {
  stream?.getTracks().forEach((t) => t.stop());
  stream = null;
  $("camera").hidden = true;
};

/** Rows of each step: shuffled rounds; where the batch is fixed, a round's last batch is filled from its beginning. */
function rounds(count, epochs) {
  const size = manifest.data.input.shape[0] > 0 ? manifest.data.input.shape[0] : Math.min(16, count), found = [];
  for (let epoch = 0; epoch < epochs; epoch++) {
    const order = Array.from({ length: count }, (_, i) => [Math.random(), i]).sort((a, b) => a[0] - b[0]).map((p) => p[1]);
    for (let first = 0; first < count; first += size) found.push(Array.from({ length: size }, (_, k) => order[(first + k) % count]));
  }
  return found;
}

async function train(given = {}) {
  const pictures = classes.flatMap((c, label) => c.pictures.map((p) => [p.pixels, label]));
  const size = pictures[0][0].length, images = new Float32Array(pictures.length * size);
  pictures.forEach(([pixels], k) => images.set(pixels, k * size));
  const batches = given.batches ?? rounds(pictures.length, Number($("epochs").value));
  busy = true;
  $("stop").hidden = $("figures").hidden = false;
  $("chart").hidden = false;
  round = { size: Math.max(1, Math.round(pictures.length / batches[0].length)), last: [] };
  show();
  try {
    return await call("train", { images, labels: pictures.map((p) => p[1]), batches, rate: given.rate ?? Number($("rate").value), mirror: given.mirror ?? $("mirror").checked }, [images.buffer]);
  } finally {
    busy = false;
    $("stop").hidden = true;
    show();
  }
}

let round;
function progressed(p) {
  losses.push(p.loss);
  round.last = [...round.last, p].slice(-round.size);
  const [right, seen] = round.last.reduce(([r, n], q) => [r + q.correct, n + q.images], [0, 0]);
  $("progress").textContent = p.step === p.of ? `Trained ${losses.length} steps. Train again to go on.` : `Step ${p.step} of ${p.of}`;
  $("loss").textContent = p.loss.toFixed(3);
  $("accuracy").textContent = `${((100 * right) / seen).toFixed(0)} %`;
  $("pace").textContent = `${p.milliseconds.toFixed(0)} ms`;
  draw();
}

/** The loss of each step, faint, and its mean over the last round; the scale begins at 0. */
function draw() {
  const top = nice(Math.max(...losses)), every = Math.ceil(losses.length / 600), last = Math.max(losses.length - 1, 1);
  const mean = (i) => losses.slice(Math.max(0, i + 1 - round.size), i + 1).reduce((a, b) => a + b, 0) / Math.min(i + 1, round.size);
  const line = (value) => losses.map((_, i) => i).filter((i) => i % every === 0 || i === last).map((i) => `${((600 * i) / last).toFixed(1)},${(150 - (150 * value(i)) / top).toFixed(1)}`).join(" ");
  $("curve").innerHTML = `<path d="M0 75H600"/><polyline class="each" points="${line((i) => losses[i])}"/><polyline points="${line(mean)}"/>`;
  $("top").textContent = top;
  $("half").textContent = top / 2;
  $("steps").textContent = `step ${losses.length}`;
}

/** The number of one digit, or 1.5 or 2.5 of them, at or above. */
function nice(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return Number(([1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].find((n) => n * unit >= value) * unit).toPrecision(2));
}

async function classify(blob) {
  if (!manifest) throw new Error("No network is loaded.");
  const scores = (await call("predict", { images: preprocess(await decode(blob), manifest) }))[0];
  const largest = Math.max(...scores), softmax = !["sigmoid"].includes(manifest.prediction?.activation) && manifest.prediction?.loss !== "bce";
  const powers = manifest.prediction?.activation === "softmax" ? scores : softmax ? scores.map((s) => Math.exp(s - largest)) : scores.map((s) => 1 / (1 + Math.exp(-s)));
  const sum = softmax ? powers.reduce((a, b) => a + b, 0) : 1;
  const ranked = powers.map((p, i) => [p / sum, classes[i].name.value]).sort((a, b) => b[0] - a[0]).slice(0, 6);
  $("bars").replaceChildren(...ranked.map(([share, name]) => {
    const line = document.createElement("li"), words = document.createElement("span"), bar = document.createElement("div");
    for (const text of [name, `${(100 * share).toFixed(1)} %`]) words.append(Object.assign(document.createElement("span"), { textContent: text }));
    bar.style.width = `${100 * share}%`;
    line.append(words, bar);
    return line;
  }));
  URL.revokeObjectURL($("shown").src);
  $("shown").src = URL.createObjectURL(blob);
  $("answer").hidden = false;
  return ranked;
}

function download(name, bytes) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes]));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const names = () => classes.map((c) => c.name.value);
$("training").onsubmit = (event) => (event.preventDefault(), safely(train)());
$("stop").onclick = () => worker.postMessage({ task: "stop" });
$("model").onclick = safely(async () => download("tuned.onnx", await call("model", { classes: names() })));
$("weights").onclick = safely(async () => download("weights.safetensors", await call("weights")));
$("look").onclick = safely(() => camera(null));
takes($("try"), safely(([file]) => file && classify(file)), false);

/** For tests and for whoever writes a page of their own. */
window.app = { call, train, classify, add: (label, files) => add(classes[label], files), ready: null };

/** The service worker once it is active. Throws where it cannot be installed, which `ready` alone would never tell. */
async function active() {
  const registration = await navigator.serviceWorker.register("sw.js"), coming = registration.installing;
  const failed = new Promise((_, fail) => coming?.addEventListener("statechange", () => coming.state === "redundant" && fail(new Error("not all of its files are there"))));
  return await Promise.race([navigator.serviceWorker.ready, failed]);
}

window.app.ready = safely(async () => {
  // A service worker keeps the page for use without a network, and isolates it, which threads need, where the server does not.
  if ("serviceWorker" in navigator && asked.get("cache") !== "no") {
    const kept = await active().catch((error) => console.warn(`The page is not kept for use without a network: ${error.message}`));
    if (kept && !crossOriginIsolated && !sessionStorage.getItem("reloaded")) {
      sessionStorage.setItem("reloaded", "yes");
      return location.reload();
    }
  }
  const opened = await call("open", { base: new URL(asked.get("bundle") ?? "bundle/", location.href).href, device: asked.get("device"), threads: Number(asked.get("threads")) }).catch((error) => {
    $("where").textContent = "No network is loaded.";
    throw error;
  });
  manifest = opened.manifest;
  if (!manifest.class_count) throw new Error("This bundle has no classes: rewrite a classifier with --classes.");
  classes = Array.from({ length: manifest.class_count }, (_, i) => card(manifest.classes?.[i] ?? `Class ${i + 1}`, i));
  $("rate").value = manifest.scalars.find((s) => s.meaning === "learning-rate").default;
  $("where").textContent = `${manifest.source.file}, on ${opened.device === "WebGPU" ? "the graphics card (WebGPU)" : `the processor, ${opened.threads} thread${opened.threads === 1 ? "" : "s"}`}.`;
  show();
  return opened;
})();
