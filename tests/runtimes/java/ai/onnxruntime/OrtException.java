/** The signatures of ONNX Runtime's Java API and of Gson that examples/java uses, without what they do: for machines that have javac and not the packages. */
package ai.onnxruntime;

public class OrtException extends Exception {}
