// Keeps everything that the page loads, and serves it from there when the network is away; answers get the headers that threads in WebAssembly need.

const KEPT = "spgraph-2";
const PAGE = ["./", "index.html", "style.css", "page.js", "worker.js", "spgraph.js", "onnx.js", "blake3.js", "pixels.js", "vendor/ort.webgpu.min.mjs", "vendor/ort-wasm-simd-threaded.asyncify.mjs", "vendor/ort-wasm-simd-threaded.asyncify.wasm"];
// A bundle may lie elsewhere, or be incomplete; what of it is loaded is kept then.
const BUNDLE = ["manifest.json", "step.onnx", "init.onnx", "eval.onnx", "template.onnx"].map((name) => `bundle/${name}`);

self.addEventListener("install", (event) => event.waitUntil(caches.open(KEPT).then((kept) => kept.addAll(PAGE).then(() => Promise.allSettled(BUNDLE.map((name) => kept.add(name))))).then(() => self.skipWaiting())));
self.addEventListener("activate", (event) => event.waitUntil(caches.keys().then((all) => Promise.all(all.filter((n) => n !== KEPT).map((n) => caches.delete(n)))).then(() => self.clients.claim())));

function isolated(answer) {
  const headers = new Headers(answer.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(answer.body, { status: answer.status, statusText: answer.statusText, headers });
}

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || new URL(request.url).origin !== location.origin) return;
  event.respondWith(
    (async () => {
      const kept = await caches.open(KEPT);
      try {
        // The network first, so that another bundle is seen at once.
        const answer = await fetch(request);
        if (answer.ok) await kept.put(request, answer.clone());
        return isolated(answer);
      } catch (error) {
        const answer = await kept.match(request, { ignoreSearch: request.mode === "navigate" });
        if (answer) return isolated(answer);
        throw error;
      }
    })(),
  );
});
