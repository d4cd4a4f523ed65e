/* Trains a bundle of `spgraph rewrite` with ONNX Runtime's C API:  finetune BUNDLE BATCHES STEPS RATE WEIGHTS
 *
 * BUNDLE is a folder, or one file of the artifact `single`. BATCHES has STEPS times a batch of normalised images (float32), then STEPS times its labels
 * (int64). WEIGHTS is written as safetensors, for `spgraph export BUNDLE --weights WEIGHTS -o tuned.onnx`. THREADS in the environment is the number of
 * threads (all cores, where it isn't set). */
#include "manifest.h"
#include <math.h>
#include <onnxruntime_c_api.h>

enum { PATH = 4096 };
static const OrtApi *ort;

static void check(const char *what, OrtStatus *status) {
    if (status) fail(what, ort->GetErrorMessage(status));
}

static OrtSession *session(OrtEnv *env, const OrtSessionOptions *options, const char *path) {
    OrtSession *made;
    check(path, ort->CreateSession(env, path, options, &made));
    return made;
}

static OrtValue *value(const OrtMemoryInfo *memory, void *data, size_t bytes, const int64_t *dims, size_t rank, ONNXTensorElementDataType type) {
    OrtValue *made;
    check("a tensor", ort->CreateTensorWithDataAsOrtValue(memory, data, bytes, dims, rank, type, &made));
    return made;
}

static void *data_of(const char *what, OrtValue *tensor) {
    void *data;
    check(what, ort->GetTensorMutableData(tensor, &data));
    return data;
}

static void of_format(const char *manifest) {
    if (strncmp(after(manifest, "format"), "2,", 2)) fail("the manifest", "it has another format than 2, which this program reads: rewrite the model again");
}

/* The manifest in the metadata of a step: the bundle's, all but the hashes of files. */
static void own_manifest(const OrtSession *step, const char *path, char **own) {
    OrtModelMetadata *metadata;
    OrtAllocator *allocator;
    check(path, ort->GetAllocatorWithDefaultOptions(&allocator));
    check(path, ort->SessionGetModelMetadata(step, &metadata));
    check(path, ort->ModelMetadataLookupCustomMetadataMap(metadata, allocator, "spgraph.manifest", own));
    ort->ReleaseModelMetadata(metadata);
    if (!*own) fail(path, "it has no manifest in its metadata, so it is no step that spgraph wrote");
}

/* Safetensors: the length of the header, the header as JSON, the tensors. Whole or not at all. */
static void write_weights(const char *path, OrtValue **values) {
    char part[PATH], *header = (char *)malloc(states * (NAME + 256) + 16), *h = header;
    size_t place = 0;
    snprintf(part, sizeof part, "%s.part", path);
    for (size_t i = 0; i < states; i++) {
        if (state[i].counts) continue;
        h += sprintf(h, "%c\"%s\":{\"dtype\":\"F32\",\"shape\":[", place ? ',' : '{', state[i].name);
        for (size_t d = 0; d < state[i].rank; d++) h += sprintf(h, "%s%" PRId64, d ? "," : "", state[i].shape[d]);
        h += sprintf(h, "],\"data_offsets\":[%zu,%zu]}", place, place + state[i].count * sizeof(float));
        place += state[i].count * sizeof(float);
    }
    h += sprintf(h, "}");
    while ((h - header) % 8) *h++ = ' ';
    uint64_t length = (uint64_t)(h - header);
    FILE *out = fopen(part, "wb");
    if (!out) fail(path, "cannot be written");
    int whole = fwrite(&length, 8, 1, out) == 1 && fwrite(header, 1, length, out) == length;
    for (size_t i = 0; whole && i < states; i++) {
        if (!state[i].counts) whole = fwrite(data_of(state[i].name, values[i]), sizeof(float), state[i].count, out) == state[i].count;
    }
    if (fclose(out) || !whole || rename(part, path)) {
        remove(part);
        fail(path, "cannot be written");
    }
    printf("wrote %s\n", path);
}

int main(int argc, char **argv) {
    if (argc != 6) fail("usage", "finetune BUNDLE BATCHES STEPS RATE WEIGHTS");
    ort = OrtGetApiBase()->GetApi(16);
    if (!ort) fail("ONNX Runtime", "it is older than 1.16");
    OrtEnv *env;
    OrtSessionOptions *options;
    OrtMemoryInfo *memory;
    check("ONNX Runtime", ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "spgraph", &env));
    check("ONNX Runtime", ort->CreateSessionOptions(&options));
    if (getenv("THREADS")) check("THREADS", ort->SetIntraOpNumThreads(options, atoi(getenv("THREADS"))));
    check("ONNX Runtime", ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));

    /* A folder has the manifest beside the step as well, so that the step of another bundle is seen. */
    size_t size = strlen(argv[1]);
    int single = size > 5 && !strcmp(argv[1] + size - 5, ".onnx");
    char path[PATH];
    const char *manifest = NULL;
    if (!single) {
        snprintf(path, sizeof path, "%s/manifest.json", argv[1]);
        of_format(manifest = read_file(path, &size));
    }
    snprintf(path, sizeof path, single ? "%s" : "%s/step.onnx", argv[1]);
    OrtSession *step = session(env, options, path);
    char *own = NULL;
    own_manifest(step, path, &own);
    of_format(own);
    if (!single) {
        const char *from = strstr(manifest, "\"format\": "), *to = strstr(from, ",\n  \"files\": {");
        if (!to || strncmp(from, strstr(own, "\"format\": "), (size_t)(to - from))) fail(path, "it is not the step of this bundle's manifest.json: rewrite the model again");
    }
    char *steps_end, *rate_end;
    long steps = strtol(argv[3], &steps_end, 10);
    float rate = strtof(argv[4], &rate_end);
    if (*steps_end || steps < 1) fail(argv[3], "it is no number of steps");
    if (rate_end == argv[4] || *rate_end) fail(argv[4], "it is no learning rate");
    read_manifest(own, rate);

    /* Names in one order: batch, scalars, state; loss, state. */
    static const char *inputs[2 + SCALARS + MOST], *outputs[1 + MOST], *names[MOST];
    static OrtValue *fed[2 + SCALARS + MOST], *got[1 + MOST];
    size_t first = 2 + scalar_count;
    inputs[0] = image.name, inputs[1] = label.name, outputs[0] = loss;
    for (size_t i = 0; i < scalar_count; i++) {
        inputs[2 + i] = scalars[i].name;
        fed[2 + i] = value(memory, &scalars[i].value, sizeof(float), NULL, 0, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
    }
    for (size_t i = 0; i < states; i++) inputs[first + i] = state[i].input, outputs[1 + i] = state[i].output, names[i] = state[i].name;
    size_t given = first;
    if (!single) {
        snprintf(path, sizeof path, "%s/init.onnx", argv[1]);
        check(path, ort->Run(session(env, options, path), NULL, NULL, NULL, 0, names, states, fed + first));
        given += states;
    }

    char *batches = read_file(argv[2], &size);
    size_t pixels = image.count * sizeof(float);
    if (size != (size_t)steps * (pixels + label.count * sizeof(int64_t))) fail(argv[2], "its size is not that of so many batches of this bundle");
    int64_t *labels = (int64_t *)(batches + (size_t)steps * pixels);
    for (size_t i = 0; i < (size_t)steps * label.count; i++) { /* -1 is an image that fills a batch up and counts for nothing */
        if (labels[i] >= -1 && labels[i] < classes) continue;
        char why[128];
        snprintf(why, sizeof why, "label %" PRId64 " of image %zu is none of the network's %ld classes", labels[i], i, classes);
        fail(argv[2], why);
    }
    for (long k = 0; k < steps; k++) {
        fed[0] = value(memory, batches + (size_t)k * pixels, pixels, image.shape, image.rank, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
        fed[1] = value(memory, labels + (size_t)k * label.count, label.count * sizeof(int64_t), label.shape, label.rank, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64);
        memset(got, 0, sizeof got);
        check("a step", ort->Run(step, NULL, inputs, (const OrtValue *const *)fed, given, outputs, 1 + states, got));
        float found = *(float *)data_of("the loss", got[0]);
        if (!isfinite(found)) fail("the loss", "it is no number: lower the rate, or look at the images; nothing is written");
        printf("step %ld  loss %.6f\n", k + 1, found);
        fflush(stdout);
        /* What a step gave goes into the next one. One with its state inside gets none at first: its inputs have defaults. */
        for (size_t i = 0; i < given; i++) {
            if (i < 2 || i >= first) ort->ReleaseValue(fed[i]);
        }
        ort->ReleaseValue(got[0]);
        memcpy(fed + first, got + 1, states * sizeof *got);
        given = first + states;
    }
    write_weights(argv[5], fed + first);
    return 0;
}
