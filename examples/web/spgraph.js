// Training a bundle of `spgraph rewrite` with ONNX Runtime's JavaScript API: onnxruntime-web or onnxruntime-node, given as `ort`. No other dependency.

import { blake3 } from "./blake3.js";
import { fill, metadata } from "./onnx.js";

const FORMAT = 2;
const ARRAYS = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array, int32: Int32Array, uint8: Uint8Array, bool: Uint8Array };
const SAFETENSORS = { float32: "F32", float64: "F64", int64: "I64", int32: "I32", uint8: "U8", bool: "BOOL" };
const count = (shape) => shape.reduce((a, b) => a * b, 1);

/** A bundle. `read(name)` gives a file's bytes, or a promise of them. */
export class Bundle {
  static async open(read) {
    const bundle = new Bundle();
    bundle.read = read;
    bundle.bytes = await read("manifest.json");
    try {
      bundle.manifest = JSON.parse(new TextDecoder().decode(bundle.bytes));
    } catch (error) {
      throw new Error(`manifest.json is damaged (${error.message}): rewrite the model again`);
    }
    const manifest = bundle.manifest;
    if (manifest.format !== FORMAT) {
      throw new Error(`the bundle has format ${manifest.format}, and this program reads ${FORMAT}: rewrite the model again with the spgraph that it came with`);
    }
    for (const part of ["data", "scalars", "outputs", "state"]) {
      if (!manifest[part]) throw new Error(`manifest.json has no \`${part}\`: rewrite the model again`);
    }
    return bundle;
  }

  get batch() {
    const size = this.manifest.data.input.shape[0];
    return size < 0 ? null : size;
  }

  /** The bytes of a file. Throws where it is not the one that the manifest tells of. */
  async file(name) {
    const bytes = await this.read(name), due = this.manifest.files?.[name];
    if (name === "step.onnx") this.belongs(bytes);
    if (due && blake3(bytes) !== due) throw new Error(`${name} was changed since it was written, or is of another bundle (its hash is another one than the manifest's): rewrite the model again`);
    return bytes;
  }

  /** Throws unless `step`, the bytes of step.onnx, is of this manifest: the step has it in its metadata, all but what is known of finished files only. */
  belongs(step) {
    let own;
    try {
      own = JSON.parse(metadata(step).get("spgraph.manifest"));
    } catch (error) {
      throw new Error(`step.onnx has no manifest that can be read (${error.message}): rewrite the model again`);
    }
    const { blake3, files, sealed, ...due } = this.manifest;
    if (JSON.stringify(own) !== JSON.stringify(due)) throw new Error("step.onnx is not the step of this bundle's manifest.json: rewrite the model again");
  }

  /** The SHA-256 of the manifest, by which files with weights name their bundle. */
  async sha256() {
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", this.bytes));
    return [...hash].map((b) => b.toString(16).padStart(2, "0")).join("");
  }
}

/** Trains; the state stays with the runtime from step to step. */
export class Trainer {
  /** `options` go to `ort.InferenceSession.create`. With `onDevice`, the state stays in the graphics card's memory. */
  static async create(ort, bundle, { onDevice = false, ...options } = {}) {
    const trainer = new Trainer();
    Object.assign(trainer, { ort, bundle, options, steps: 0, evaluation: null });
    const { state, scalars } = bundle.manifest;
    trainer.scalars = Object.fromEntries(scalars.map((s) => [s.name, s.default]));
    const where = onDevice ? { preferredOutputLocation: Object.fromEntries(state.map((s) => [s.output, "gpu-buffer"])) } : {};
    trainer.session = await trainer.load("step.onnx", where);
    const init = await trainer.load("init.onnx");
    const start = await init.run({});
    await init.release();
    const other = state.find((s) => start[s.name]?.type !== s.dtype || String(start[s.name].dims) !== String(s.shape));
    if (other) throw new Error(`init.onnx gives no \`${other.name}\` of ${other.dtype} ${other.shape}; it is of another bundle: rewrite the model again`);
    trainer.state = Object.fromEntries(state.map((s) => [s.name, start[s.name]]));
    return trainer;
  }

  async load(name, more = {}) {
    const bytes = await this.bundle.file(name);
    try {
      return await this.ort.InferenceSession.create(bytes, { logSeverityLevel: 3, ...this.options, ...more });
    } catch (error) {
      throw new Error(`this runtime cannot run ${name}: ${error.message ?? error}`);
    }
  }

  tensor(type, data, shape) {
    const values = ARRAYS[type] === BigInt64Array ? BigInt64Array.from(data, BigInt) : ARRAYS[type].from(data);
    return new this.ort.Tensor(type, values, shape);
  }

  images(images) {
    const { shape, dtype } = this.bundle.manifest.data.input;
    const size = count(shape.slice(1)), number = images.length / size;
    if (!Number.isInteger(number) || number === 0 || (shape[0] >= 0 && number !== shape[0])) {
      throw new Error(`${images.length} numbers are no images of ${shape.slice(1).join("×")}${shape[0] < 0 ? "" : `, ${shape[0]} of them`}`);
    }
    return this.tensor(dtype, images, [number, ...shape.slice(1)]);
  }

  /** One step on `images`, numbers of N×C×H×W, and their N labels. Where it throws, the state is what it was. */
  async step(images, labels, scalars = {}) {
    const { data, outputs, state, class_count: classes, precision } = this.bundle.manifest;
    const input = this.images(images), number = input.dims[0];
    if (data.target.shape.length !== 1) throw new Error("this bundle was made for soft targets; rewrite without --soft-targets");
    if (labels.length !== number) throw new Error(`${labels.length} labels were given for ${number} images`);
    const wrong = [...labels].find((l) => !Number.isInteger(Number(l)) || l < 0 || (classes && l >= classes));
    if (wrong !== undefined) throw new Error(`the label ${wrong} is none of the ${classes} classes`);
    const feeds = { [data.input.name]: input, [data.target.name]: this.tensor(data.target.dtype, labels, [number]) };
    for (const [name, value] of Object.entries({ ...this.scalars, ...scalars })) {
      if (!(name in this.scalars)) throw new Error(`the bundle has no scalar \`${name}\`; it has ${Object.keys(this.scalars).join(", ")}`);
      feeds[name] = this.tensor(precision, [value], []);
    }
    for (const s of state) feeds[s.input] = this.state[s.name];
    const found = await this.session.run(feeds);
    const measures = Object.fromEntries(outputs.map((o) => [o.meaning, Number(found[o.name].data[0])]));
    if (!Number.isFinite(measures.loss)) throw new Error(`the loss of step ${this.steps + 1} is ${measures.loss}: train with a lower rate`);
    const before = this.state;
    this.state = Object.fromEntries(state.map((s) => [s.name, found[s.output]]));
    for (const old of Object.values(before)) old.dispose?.();
    this.steps += 1;
    return { loss: measures.loss, dataLoss: measures["data-loss"], penalty: measures.penalty, correct: measures.correct, images: number };
  }

  /** The network's output for images of any number: an array of scores for each. */
  async predict(images) {
    this.evaluation ??= await this.load("eval.onnx");
    const { data, state, prediction } = this.bundle.manifest;
    const size = count(data.input.shape.slice(1)), number = images.length / size, batch = this.bundle.batch ?? number;
    const feeds = {};
    for (const s of state.filter((s) => this.evaluation.inputNames.includes(s.input))) {
      feeds[s.input] = new this.ort.Tensor(s.dtype, await this.values(s), s.shape);
    }
    const rows = [], name = prediction?.output ?? this.evaluation.outputNames[0];
    for (let first = 0; first < number; first += batch) {
      const part = new Float32Array(batch * size);
      for (let k = 0; k < batch; k++) part.set(images.subarray(Math.min(first + k, number - 1) * size, (Math.min(first + k, number - 1) + 1) * size), k * size);
      const scores = (await this.evaluation.run({ ...feeds, [data.input.name]: this.images(part) }))[name];
      const width = scores.data.length / batch;
      for (let k = first; k < Math.min(first + batch, number); k++) rows.push([...scores.data.slice((k - first) * width, (k - first + 1) * width)].map(Number));
    }
    return rows;
  }

  async values(s) {
    return this.state[s.name].getData ? this.state[s.name].getData() : this.state[s.name].data;
  }

  /** The state as a safetensors file, which `spgraph export BUNDLE --weights` takes, and `restore`. */
  async weights() {
    const header = { __metadata__: { bundle: await this.bundle.sha256(), steps: String(this.steps) } }, parts = [];
    let at = 0;
    for (const s of this.bundle.manifest.state) {
      const values = await this.values(s);
      header[s.name] = { dtype: SAFETENSORS[s.dtype], shape: s.shape, data_offsets: [at, at + values.byteLength] };
      parts.push(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
      at += values.byteLength;
    }
    let text = new TextEncoder().encode(JSON.stringify(header));
    const padded = new Uint8Array(Math.ceil(text.length / 8) * 8).fill(0x20);
    padded.set(text);
    const file = new Uint8Array(8 + padded.length + at);
    new DataView(file.buffer).setBigUint64(0, BigInt(padded.length), true);
    file.set(padded, 8);
    parts.reduce((place, part) => (file.set(part, place), place + part.length), 8 + padded.length);
    return file;
  }

  /** Goes on from what `weights` gave. Throws for another bundle's; the state is then what it was. */
  async restore(file) {
    let header, body;
    try {
      const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
      header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)));
      body = file.subarray(8 + length);
    } catch (error) {
      throw new Error(`this is no safetensors file (${error.message})`);
    }
    if (header.__metadata__?.bundle !== (await this.bundle.sha256())) throw new Error("these are the weights of another bundle");
    const state = {};
    for (const s of this.bundle.manifest.state) {
      const entry = header[s.name];
      if (!entry || entry.dtype !== SAFETENSORS[s.dtype] || String(entry.shape) !== String(s.shape)) throw new Error(`the file has no \`${s.name}\` of ${s.dtype} ${s.shape}`);
      const bytes = Uint8Array.from(body.subarray(...entry.data_offsets)); // a copy, also of a Buffer
      if (bytes.length !== count(s.shape) * ARRAYS[s.dtype].BYTES_PER_ELEMENT) throw new Error(`the file was cut off in \`${s.name}\``);
      state[s.name] = new this.ort.Tensor(s.dtype, new ARRAYS[s.dtype](bytes.buffer), s.shape);
    }
    this.state = state;
    this.steps = Number(header.__metadata__.steps ?? 0);
  }

  /** The tuned model as an ONNX file: the source's graph and names with the new weights; `classes` are the names by label. */
  async exported(classes = this.bundle.manifest.classes ?? []) {
    const tensors = new Map();
    for (const s of this.bundle.manifest.state.filter((s) => ["shared", "new", "buffer"].includes(s.role))) {
      const values = await this.values(s);
      tensors.set(s.name, { dtype: s.dtype, bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) });
    }
    const { prediction, preprocessing } = this.bundle.manifest;
    const metadata = { "spgraph.classes": classes.length ? JSON.stringify(classes) : null, "spgraph.prediction": prediction && JSON.stringify(prediction), "spgraph.preprocessing": preprocessing && JSON.stringify(preprocessing) };
    return fill(await this.bundle.file("template.onnx"), tensors, metadata);
  }
}
