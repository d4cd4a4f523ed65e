// Trains a bundle of `spgraph rewrite` with ONNX Runtime's Java API; see README.md: compiled against the signatures that it uses, never run.

import ai.onnxruntime.*;
import com.google.gson.*;
import java.io.OutputStream;
import java.nio.*;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;

public class Finetune {
    public static void main(String[] args) throws Exception {
        if (args.length != 5) throw new IllegalArgumentException("usage: Finetune BUNDLE BATCHES STEPS RATE WEIGHTS");
        Path bundle = Path.of(args[0]);
        int steps = Integer.parseInt(args[2]);
        float rate = Float.parseFloat(args[3]);
        JsonObject manifest = JsonParser.parseString(Files.readString(bundle.resolve("manifest.json"))).getAsJsonObject();
        if (manifest.get("format").getAsInt() != 2) throw new IllegalStateException("the bundle has format " + manifest.get("format") + ", and this program reads 2");
        JsonObject image = manifest.getAsJsonObject("data").getAsJsonObject("input"), label = manifest.getAsJsonObject("data").getAsJsonObject("target");
        if (!text(label, "dtype").equals("int64")) throw new IllegalStateException("the bundle takes several classes or numbers for each image, and this program one class");
        long[] imageShape = shape(image), labelShape = shape(label);
        long classes = manifest.get("class_count").getAsInt();
        JsonArray state = manifest.getAsJsonArray("state");

        try (OrtEnvironment env = OrtEnvironment.getEnvironment();
             OrtSession init = env.createSession(bundle.resolve("init.onnx").toString());
             OrtSession step = env.createSession(bundle.resolve("step.onnx").toString());
             FileChannel file = FileChannel.open(Path.of(args[1]))) {
            long pixels = count(imageShape) * 4, labels = count(labelShape) * 8;
            if (file.size() != steps * (pixels + labels)) throw new IllegalStateException(args[1] + " is not so many batches of this bundle");
            // -1 is an image that fills a batch up and counts for nothing.
            LongBuffer all = read(file, steps * pixels, steps * labels).asLongBuffer();
            for (int i = 0; i < all.limit(); i++) {
                if (all.get(i) < -1 || all.get(i) >= classes) throw new IllegalStateException(args[1] + ": label " + all.get(i) + " of image " + i + " is none of the network's " + classes + " classes");
            }

            Map<String, OnnxTensor> current = new HashMap<>();
            // Owned by the results, which are kept until the next step has read them.
            OrtSession.Result held = init.run(Map.of());
            for (JsonElement s : state) current.put(text(s, "name"), (OnnxTensor) held.get(text(s, "name")).orElseThrow());
            for (int k = 0; k < steps; k++) {
                Map<String, OnnxTensor> feeds = new HashMap<>();
                FloatBuffer data = read(file, k * pixels, pixels).asFloatBuffer();
                LongBuffer targets = read(file, steps * pixels + k * labels, labels).asLongBuffer();
                feeds.put(image.get("name").getAsString(), OnnxTensor.createTensor(env, data, imageShape));
                feeds.put(label.get("name").getAsString(), OnnxTensor.createTensor(env, targets, labelShape));
                for (JsonElement s : manifest.getAsJsonArray("scalars")) {
                    float value = text(s, "meaning").equals("learning-rate") ? rate : s.getAsJsonObject().get("default").getAsFloat();
                    feeds.put(text(s, "name"), OnnxTensor.createTensor(env, value));
                }
                List<OnnxTensor> own = new ArrayList<>(feeds.values());
                for (JsonElement s : state) feeds.put(text(s, "input"), current.get(text(s, "name")));
                OrtSession.Result found = step.run(feeds);
                own.forEach(OnnxTensor::close);
                held.close();
                held = found;
                for (JsonElement s : state) current.put(text(s, "name"), (OnnxTensor) found.get(text(s, "output")).orElseThrow());
                for (JsonElement o : manifest.getAsJsonArray("outputs")) {
                    if (!text(o, "meaning").equals("loss")) continue;
                    float loss = (float) found.get(text(o, "name")).orElseThrow().getValue();
                    if (!Float.isFinite(loss)) throw new IllegalStateException("the loss of step " + (k + 1) + " is " + loss + ": lower the rate, or look at the images; nothing is written");
                    System.out.printf("step %d  loss %.6f%n", k + 1, loss);
                }
            }
            write(Path.of(args[4]), state, current);
            held.close();
        }
    }

    static ByteBuffer read(FileChannel file, long at, long size) throws Exception {
        ByteBuffer buffer = ByteBuffer.allocateDirect((int) size).order(ByteOrder.LITTLE_ENDIAN);
        while (buffer.hasRemaining() && file.read(buffer, at + buffer.position()) > 0) { }
        return buffer.rewind();
    }

    static String text(JsonElement element, String key) {
        return element.getAsJsonObject().get(key).getAsString();
    }

    static long[] shape(JsonObject port) {
        long[] sizes = new Gson().fromJson(port.get("shape"), long[].class);
        if (sizes[0] < 0) throw new IllegalStateException("this program takes a fixed batch: rewrite with --batch N");
        return sizes;
    }

    static long count(long[] shape) {
        return Arrays.stream(shape).reduce(1, (a, b) -> a * b);
    }

    /** Safetensors, whole or not at all. */
    static void write(Path path, JsonArray state, Map<String, OnnxTensor> tensors) throws Exception {
        JsonObject header = new JsonObject();
        long at = 0;
        for (JsonElement s : state) {
            // Others are counts, not weights.
            if (!text(s, "dtype").equals("float32")) continue;
            JsonObject entry = new JsonObject();
            JsonArray place = new JsonArray();
            place.add(at);
            at += 4 * count(new Gson().fromJson(s.getAsJsonObject().get("shape"), long[].class));
            place.add(at);
            entry.addProperty("dtype", "F32");
            entry.add("shape", s.getAsJsonObject().get("shape"));
            entry.add("data_offsets", place);
            header.add(text(s, "name"), entry);
        }
        byte[] json = header.toString().getBytes(StandardCharsets.UTF_8);
        Path part = path.resolveSibling(path.getFileName() + ".part");
        try (OutputStream out = Files.newOutputStream(part)) {
            out.write(ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(json.length).array());
            out.write(json);
            for (JsonElement s : state) {
                if (!text(s, "dtype").equals("float32")) continue;
                FloatBuffer values = tensors.get(text(s, "name")).getFloatBuffer();
                ByteBuffer bytes = ByteBuffer.allocate(values.remaining() * 4).order(ByteOrder.LITTLE_ENDIAN);
                bytes.asFloatBuffer().put(values);
                out.write(bytes.array());
            }
        }
        Files.move(part, path, StandardCopyOption.REPLACE_EXISTING, StandardCopyOption.ATOMIC_MOVE);
    }
}
