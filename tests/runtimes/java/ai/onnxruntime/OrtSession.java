package ai.onnxruntime;

import java.util.Map;
import java.util.Optional;

public class OrtSession implements AutoCloseable {
    public Result run(Map<String, ? extends OnnxTensor> inputs) throws OrtException { return null; }
    public void close() throws OrtException {}

    public static class Result implements AutoCloseable {
        public Optional<OnnxValue> get(String name) { return Optional.empty(); }
        public void close() {}
    }
}
