package ai.onnxruntime;

import java.nio.FloatBuffer;
import java.nio.LongBuffer;

public class OnnxTensor implements OnnxValue {
    public static OnnxTensor createTensor(OrtEnvironment env, Object data) throws OrtException { return null; }
    public static OnnxTensor createTensor(OrtEnvironment env, FloatBuffer data, long[] shape) throws OrtException { return null; }
    public static OnnxTensor createTensor(OrtEnvironment env, LongBuffer data, long[] shape) throws OrtException { return null; }
    public Object getValue() throws OrtException { return null; }
    public FloatBuffer getFloatBuffer() { return null; }
    public void close() {}
}
