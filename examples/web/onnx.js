// Fills the template of a bundle: an ONNX file whose tensors that are state have names, shapes and types, and no data. A protobuf message is read as its
// fields and written again, with the data appended where they belong; everything else stays byte for byte.

const CODES = { float32: 1, uint8: 2, int32: 6, int64: 7, bool: 9, float64: 11 };
// Names of classes, under the keys that spgraph and others write; they belong to the head.
const NAMES = ["spgraph.classes", "names", "classes", "labels", "class_names", "id2label", "label2id", "class_to_idx", "idx_to_class"];

/** The tuned model. `tensors`: name → { dtype, bytes }; `metadata`: key → text, or null for none. Throws where the template has no place for a tensor. */
export function fill(template, tensors, metadata) {
  const missing = new Set(tensors.keys()), model = fields(template), fresh = model.some((f) => f.number === 14 && key(f) === "spgraph.split");
  if (fresh) throw new Error("this model's exporter stored equal weights once; use `spgraph export BUNDLE --weights FILE`, which parts them");
  if ((model.find((f) => f.number === 1)?.value ?? 0) < 4) throw new Error("the model is of an old form of ONNX (IR version 3); use `spgraph export BUNDLE --weights FILE`");
  const filled = (tensor) => {
    const parts = fields(tensor), name = text(parts.find((f) => f.number === 8)?.bytes);
    return [name, (due) => withData(parts, name, due, missing)];
  };
  const graph = (bytes) =>
    join(fields(bytes).map((field) => {
      if (field.number === 5) {
        const [name, put] = filled(field.bytes);
        return tensors.has(name) ? message(5, put(tensors.get(name))) : field.raw;
      }
      return field.number === 1 ? constant(field, tensors, missing) : field.raw;
    }));
  const dropped = metadata["spgraph.classes"] ? NAMES : [];
  const kept = model.filter((f) => f.number !== 14 || !(key(f) in metadata || dropped.includes(key(f))));
  const added = Object.entries(metadata).filter(([, value]) => value).map(([name, value]) => message(14, join([message(1, utf8(name)), message(2, utf8(value))])));
  const file = join([...kept.map((f) => (f.number === 7 ? message(7, graph(f.bytes)) : f.raw)), ...added]);
  if (missing.size) throw new Error(`template.onnx has no place for \`${[...missing][0]}\`: rewrite the model again`);
  return file;
}

/** The metadata of an ONNX file: key → text. Throws where it is damaged. */
export function metadata(model) {
  return new Map(fields(model, "it").filter((f) => f.number === 14).map((f) => [key(f), text(fields(f.bytes, "it").find((p) => p.number === 2)?.bytes)]));
}

/** A node; the tensor of a Constant that is state gets its data. */
function constant(field, tensors, missing) {
  const node = fields(field.bytes), name = text(node.find((f) => f.number === 2)?.bytes);
  if (text(node.find((f) => f.number === 4)?.bytes) !== "Constant" || !tensors.has(name)) return field.raw;
  const attribute = (bytes) => join(fields(bytes).map((f) => (f.number === 5 ? message(5, withData(fields(f.bytes), name, tensors.get(name), missing)) : f.raw)));
  return message(1, join(node.map((f) => (f.number === 5 ? message(5, attribute(f.bytes)) : f.raw))));
}

function withData(parts, name, { dtype, bytes }, missing) {
  if (parts.find((f) => f.number === 2)?.value !== CODES[dtype]) throw new Error(`the model stores \`${name}\` in another type than ${dtype}; use \`spgraph export BUNDLE --weights FILE\``);
  missing.delete(name);
  return join([...parts.map((f) => f.raw), message(9, bytes)]);
}

/** The fields of a message: number, raw bytes with the tag, and the value: a number, or bytes. */
function fields(bytes, file = "template.onnx") {
  const found = [];
  let at = 0;
  const varint = () => {
    let value = 0, factor = 1;
    for (;;) {
      if (at >= bytes.length) throw new Error(`${file} is damaged: rewrite the model again`);
      const byte = bytes[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
      factor *= 128;
    }
  };
  while (at < bytes.length) {
    const start = at, tag = varint(), field = { number: Math.floor(tag / 8) };
    if (tag % 8 === 0) field.value = varint();
    else if (tag % 8 === 1) at += 8;
    else if (tag % 8 === 5) at += 4;
    else {
      const length = varint();
      field.bytes = bytes.subarray(at, at + length);
      at += length;
    }
    if (at > bytes.length) throw new Error(`${file} is damaged: rewrite the model again`);
    field.raw = bytes.subarray(start, at);
    found.push(field);
  }
  return found;
}

function message(number, bytes) {
  const head = [];
  for (let value of [number * 8 + 2, bytes.length]) {
    while (value >= 128) {
      head.push((value % 128) + 128);
      value = Math.floor(value / 128);
    }
    head.push(value);
  }
  return join([Uint8Array.from(head), bytes]);
}

function join(parts) {
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  parts.reduce((at, part) => (all.set(part, at), at + part.length), 0);
  return all;
}

const utf8 = (string) => new TextEncoder().encode(string);
const text = (bytes) => new TextDecoder().decode(bytes ?? new Uint8Array());
const key = (field) => text(fields(field.bytes).find((f) => f.number === 1)?.bytes);
