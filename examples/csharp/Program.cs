// Trains a bundle of `spgraph rewrite` with ONNX Runtime's C# API; see README.md: never compiled or run where it was written.

using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.ML.OnnxRuntime;

if (args.Length != 5) throw new ArgumentException("usage: finetune BUNDLE BATCHES STEPS RATE WEIGHTS");
var (bundle, steps, rate) = (args[0], int.Parse(args[2]), float.Parse(args[3], System.Globalization.CultureInfo.InvariantCulture));
var manifest = JsonNode.Parse(File.ReadAllText(Path.Combine(bundle, "manifest.json")))!;
if ((int)manifest["format"]! != 2) throw new InvalidDataException($"the bundle has format {manifest["format"]}, and this program reads 2");
JsonNode image = manifest["data"]!["input"]!, label = manifest["data"]!["target"]!;
if ((string)label["dtype"]! != "int64") throw new InvalidDataException("the bundle takes several classes or numbers for each image, and this program one class");
var (imageShape, labelShape) = (Shape(image), Shape(label));
if (imageShape[0] < 0) throw new InvalidDataException("this program takes a fixed batch: rewrite with --batch N");
var state = manifest["state"]!.AsArray().Select(s => s!).ToList();

var bytes = File.ReadAllBytes(args[1]);
int pixels = (int)Count(imageShape), labels = (int)Count(labelShape);
if (bytes.LongLength != (long)steps * (4L * pixels + 8L * labels)) throw new InvalidDataException($"{args[1]} is not so many batches of this bundle");
var images = MemoryMarshal.Cast<byte, float>(bytes.AsSpan(0, steps * pixels * 4)).ToArray();
var targets = MemoryMarshal.Cast<byte, long>(bytes.AsSpan(steps * pixels * 4)).ToArray();
var classes = (long)manifest["class_count"]!;
// -1 is an image that fills a batch up and counts for nothing.
var wrong = Array.FindIndex(targets, target => target < -1 || target >= classes);
if (wrong >= 0) throw new InvalidDataException($"{args[1]}: label {targets[wrong]} of image {wrong} is none of the network's {classes} classes");

using var run = new RunOptions();
using var init = new InferenceSession(Path.Combine(bundle, "init.onnx"));
using var step = new InferenceSession(Path.Combine(bundle, "step.onnx"));
var names = state.Select(s => (string)s["name"]!).ToArray();
var current = init.Run(run, Array.Empty<string>(), Array.Empty<OrtValue>(), names).ToArray();
var loss = (string)manifest["outputs"]!.AsArray().First(o => (string)o!["meaning"]! == "loss")!["name"]!;
var outputs = new[] { loss }.Concat(state.Select(s => (string)s["output"]!)).ToArray();
for (var k = 0; k < steps; k++)
{
    var inputs = new List<string> { (string)image["name"]!, (string)label["name"]! };
    var own = new List<OrtValue>
    {
        OrtValue.CreateTensorValueFromMemory(images[(k * pixels)..((k + 1) * pixels)], imageShape),
        OrtValue.CreateTensorValueFromMemory(targets[(k * labels)..((k + 1) * labels)], labelShape),
    };
    foreach (var scalar in manifest["scalars"]!.AsArray())
    {
        inputs.Add((string)scalar!["name"]!);
        var value = (string)scalar["meaning"]! == "learning-rate" ? rate : (float)scalar["default"]!;
        own.Add(OrtValue.CreateTensorValueFromMemory(new[] { value }, Array.Empty<long>()));
    }
    inputs.AddRange(state.Select(s => (string)s["input"]!));
    var found = step.Run(run, inputs, own.Concat(current).ToList(), outputs).ToArray();
    var got = found[0].GetTensorDataAsSpan<float>()[0];
    if (!float.IsFinite(got)) throw new InvalidDataException($"the loss of step {k + 1} is {got}: lower the rate, or look at the images; nothing is written");
    Console.WriteLine($"step {k + 1}  loss {got:F6}");
    foreach (var value in own.Concat(current).Append(found[0])) value.Dispose();
    current = found[1..];
}

// Safetensors, whole or not at all.
var header = new JsonObject();
long at = 0;
for (var i = 0; i < names.Length; i++)
{
    // Others are counts, not weights.
    if ((string)state[i]["dtype"]! != "float32") continue;
    var size = 4 * Count(Shape(state[i]));
    header[names[i]] = new JsonObject { ["dtype"] = "F32", ["shape"] = state[i]["shape"]!.DeepClone(), ["data_offsets"] = new JsonArray(at, at + size) };
    at += size;
}
var json = JsonSerializer.SerializeToUtf8Bytes(header);
using (var file = File.Create(args[4] + ".part"))
{
    file.Write(BitConverter.GetBytes((ulong)json.Length));
    file.Write(json);
    for (var i = 0; i < names.Length; i++)
        if ((string)state[i]["dtype"]! == "float32") file.Write(MemoryMarshal.AsBytes(current[i].GetTensorDataAsSpan<float>()));
}
File.Move(args[4] + ".part", args[4], true);

static long[] Shape(JsonNode node) => node["shape"]!.AsArray().Select(n => (long)n!).ToArray();
static long Count(long[] shape) => shape.Aggregate(1L, (a, b) => a * b);
