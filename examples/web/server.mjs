// A static server, with the headers that threads in WebAssembly need: node server.mjs [PORT]. Copies what the page needs of onnxruntime-web to vendor/.

import { copyFile, mkdir, readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { dirname, extname, join, normalize, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".json": "application/json", ".wasm": "application/wasm" };

export async function vendor(to = join(HERE, "vendor")) {
  await mkdir(to, { recursive: true });
  const names = ["ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"];
  await Promise.all(names.map((name) => copyFile(join(HERE, "node_modules/onnxruntime-web/dist", name), join(to, name))));
}

/** Serves `folders`, the first that has a file; `bundle/` may lie elsewhere, and be called otherwise (`at`). `headers` false leaves the two away. */
export function serve(port, { bundle = join(HERE, "bundle"), at = "bundle", headers = true } = {}) {
  const server = createServer(async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://localhost").pathname)).replace(/^[/\\]+/, "") || "index.html";
    const [root, name] = path.startsWith(`${at}${sep}`) ? [bundle, path.slice(at.length + 1)] : [HERE, path];
    const file = resolve(root, name), inside = file.startsWith(resolve(root) + sep) && !path.startsWith("node_modules");
    const data = inside ? await readFile(file).catch(() => null) : null;
    const isolation = headers ? { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" } : {};
    response.writeHead(data ? 200 : 404, { "Content-Type": TYPES[extname(file)] ?? "application/octet-stream", "Cache-Control": "no-cache", ...isolation });
    response.end(data ?? "not there\n");
  });
  return new Promise((done) => server.listen(port, "127.0.0.1", () => done(server)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await vendor();
  const server = await serve(Number(process.argv[2] ?? 8000));
  console.log(`http://localhost:${server.address().port}/`);
}
