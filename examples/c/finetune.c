/* Trains a bundle of `spgraph rewrite` with ONNX Runtime's C API:  finetune BUNDLE BATCHES STEPS RATE WEIGHTS
 *
 * BATCHES has STEPS times a batch of normalised images (float32), then STEPS times its labels (int64). WEIGHTS is written as safetensors, for
 * `spgraph export BUNDLE --weights WEIGHTS -o tuned.onnx`. THREADS in the environment is the number of threads (all cores, where it isn't set). */
#include <inttypes.h>
#include <math.h>
#include <onnxruntime_c_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 4096, NAME = 512, RANK = 8 };
typedef struct { char name[NAME], input[NAME], output[NAME]; int64_t shape[RANK]; size_t rank, count; int counts; } Tensor;

static const OrtApi *ort;
static Tensor state[MOST];
static size_t states;

static void fail(const char *what, const char *why) {
    fprintf(stderr, "error: %s: %s\n", what, why);
    exit(1);
}

static void check(const char *what, OrtStatus *status) {
    if (status) fail(what, ort->GetErrorMessage(status));
}

static char *read_file(const char *folder, const char *name, size_t *size) {
    char path[4096];
    snprintf(path, sizeof path, "%s%s%s", folder, *folder ? "/" : "", name);
    FILE *file = fopen(path, "rb");
    if (!file) fail(path, "cannot be opened");
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    char *data = (char *)calloc(*size + 1, 1);
    if (!data || fread(data, 1, *size, file) != *size) fail(path, "cannot be read");
    fclose(file);
    return data;
}

/* The manifest is JSON as spgraph writes it: what follows `"key": ` after `at`. */
static const char *after(const char *at, const char *key) {
    char sought[NAME];
    snprintf(sought, sizeof sought, "\"%s\": ", key);
    const char *found = at ? strstr(at, sought) : NULL;
    if (!found) fail("manifest.json", "it is damaged, or of another format than 2: rewrite the model again");
    return found + strlen(sought);
}

static const char *string(const char *at, const char *key, char *out) {
    const char *value = after(at, key) + 1, *end = value + strcspn(value, "\"");
    if ((size_t)(end - value) >= NAME || memchr(value, '\\', (size_t)(end - value))) fail("manifest.json", "a name is longer than this program takes, or has an escape");
    memcpy(out, value, (size_t)(end - value));
    out[end - value] = 0;
    return end;
}

static const char *shape(const char *at, Tensor *t) {
    const char *c = after(at, "shape") + 1;
    for (t->rank = 0, t->count = 1; *c != ']'; c += strspn(c, ", \n")) {
        c += strspn(c, " \n");
        if (*c == ']') break;
        if (t->rank == RANK) fail(t->name, "it has more than 8 dimensions");
        char *end;
        t->shape[t->rank] = strtoll(c, &end, 10);
        if (end == c || t->shape[t->rank] < 0) fail("manifest.json", "this program takes a fixed batch: rewrite with --batch N");
        t->count *= (size_t)t->shape[t->rank++];
        c = end;
    }
    return c;
}

static OrtSession *session(OrtEnv *env, const OrtSessionOptions *options, const char *folder, const char *name) {
    char path[4096];
    OrtSession *made;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    check(path, ort->CreateSession(env, path, options, &made));
    return made;
}

static OrtValue *value(const OrtMemoryInfo *memory, void *data, size_t bytes, const int64_t *dims, size_t rank, ONNXTensorElementDataType type) {
    OrtValue *made;
    check("a tensor", ort->CreateTensorWithDataAsOrtValue(memory, data, bytes, dims, rank, type, &made));
    return made;
}

/* The step has the manifest in its metadata, all but the hashes of files: a step of another bundle is seen by it. */
static void belongs(const OrtSession *step, const char *manifest) {
    OrtModelMetadata *metadata;
    OrtAllocator *allocator;
    char *own = NULL;
    check("step.onnx", ort->GetAllocatorWithDefaultOptions(&allocator));
    check("step.onnx", ort->SessionGetModelMetadata(step, &metadata));
    check("step.onnx", ort->ModelMetadataLookupCustomMetadataMap(metadata, allocator, "spgraph.manifest", &own));
    const char *from = strstr(manifest, "\"format\": "), *to = strstr(manifest, ",\n  \"files\": {"), *found = own ? strstr(own, "\"format\": ") : NULL;
    if (!from || !to || !found || strncmp(from, found, (size_t)(to - from))) fail("step.onnx", "it is not the step of this bundle's manifest.json: rewrite the model again");
    check("step.onnx", ort->AllocatorFree(allocator, own));
    ort->ReleaseModelMetadata(metadata);
}

int main(int argc, char **argv) {
    if (argc != 6) fail("usage", "finetune BUNDLE BATCHES STEPS RATE WEIGHTS");
    ort = OrtGetApiBase()->GetApi(16);
    if (!ort) fail("ONNX Runtime", "it is older than 1.16");

    size_t size;
    char *manifest = read_file(argv[1], "manifest.json", &size), type[NAME];
    if (strncmp(after(manifest, "format"), "2,", 2)) fail("manifest.json", "it has another format than 2, which this program reads");
    static Tensor image, label;
    const char *at = string(after(manifest, "input"), "name", image.name);
    shape(at, &image);
    at = string(after(manifest, "target"), "name", label.name);
    string(at, "dtype", type);
    if (strcmp(type, "int64")) fail(label.name, "this program trains one class for each image");
    shape(at, &label);
    long classes = strtol(after(manifest, "class_count"), NULL, 10);
    const char *end = strstr(after(manifest, "state"), "\n  ]");
    for (at = strstr(manifest, "\"state\": ["); at && (at = strstr(at, "\"name\": ")) && at < end && states < MOST;) {
        Tensor *t = &state[states++];
        string(at, "name", t->name);
        string(at, "dtype", type);
        t->counts = !strcmp(type, "int64"); /* the seed and the step of dropout's masks, which are no weights */
        if (!t->counts && strcmp(type, "float32")) fail(t->name, "this program trains float32");
        shape(at, t);
        string(at, "input", t->input);
        at = string(at, "output", t->output);
    }
    struct { char name[NAME]; float value; } scalars[32];
    size_t number = 0;
    end = strstr(after(manifest, "scalars"), "\n  ]");
    for (at = after(manifest, "scalars"); (at = strstr(at, "\"name\": ")) && at < end && number < 32; number++) {
        string(at, "name", scalars[number].name);
        at = string(at, "meaning", type);
        scalars[number].value = strcmp(type, "learning-rate") ? strtof(after(at, "default"), NULL) : strtof(argv[4], NULL);
    }

    OrtEnv *env;
    OrtSessionOptions *options;
    OrtMemoryInfo *memory;
    check("ONNX Runtime", ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "spgraph", &env));
    check("ONNX Runtime", ort->CreateSessionOptions(&options));
    if (getenv("THREADS")) check("THREADS", ort->SetIntraOpNumThreads(options, atoi(getenv("THREADS"))));
    check("ONNX Runtime", ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
    OrtSession *init = session(env, options, argv[1], "init.onnx"), *step = session(env, options, argv[1], "step.onnx");
    belongs(step, manifest);

    /* Names in one order: batch, scalars, state; loss, state. */
    static const char *inputs[MOST + 34], *outputs[MOST + 1], *names[MOST];
    static OrtValue *fed[MOST + 34], *got[MOST + 1];
    size_t first = 2 + number;
    char loss[NAME];
    at = after(manifest, "outputs");
    string(at, "name", loss); /* the first is the loss */
    inputs[0] = image.name, inputs[1] = label.name, outputs[0] = loss;
    for (size_t i = 0; i < number; i++) {
        inputs[2 + i] = scalars[i].name;
        fed[2 + i] = value(memory, &scalars[i].value, sizeof(float), NULL, 0, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
    }
    for (size_t i = 0; i < states; i++) inputs[first + i] = state[i].input, outputs[1 + i] = state[i].output, names[i] = state[i].name;
    check("init.onnx", ort->Run(init, NULL, NULL, NULL, 0, names, states, fed + first));

    long steps = strtol(argv[3], NULL, 10);
    char *batches = read_file("", argv[2], &size);
    if (steps < 1 || size != (size_t)steps * (image.count * sizeof(float) + label.count * sizeof(int64_t))) fail(argv[2], "its size is not that of so many batches of this bundle");
    int64_t *labels = (int64_t *)(batches + (size_t)steps * image.count * sizeof(float));
    for (size_t i = 0; i < (size_t)steps * label.count; i++) { /* -1 is an image that fills a batch up and counts for nothing */
        if (labels[i] >= -1 && labels[i] < classes) continue;
        char why[128];
        snprintf(why, sizeof why, "label %" PRId64 " of image %zu is none of the network's %ld classes", labels[i], i, classes);
        fail(argv[2], why);
    }
    for (long k = 0; k < steps; k++) {
        fed[0] = value(memory, batches + (size_t)k * image.count * sizeof(float), image.count * sizeof(float), image.shape, image.rank, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
        fed[1] = value(memory, labels + (size_t)k * label.count, label.count * sizeof(int64_t), label.shape, label.rank, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64);
        memset(got, 0, sizeof got);
        check("step.onnx", ort->Run(step, NULL, inputs, (const OrtValue *const *)fed, first + states, outputs, 1 + states, got));
        void *data;
        check("the loss", ort->GetTensorMutableData(got[0], &data));
        if (!isfinite(*(float *)data)) fail("the loss", "it is no number: lower the rate, or look at the images; nothing is written");
        printf("step %ld  loss %.6f\n", k + 1, *(float *)data);
        fflush(stdout);
        for (size_t i = 0; i < 2; i++) ort->ReleaseValue(fed[i]);
        ort->ReleaseValue(got[0]);
        for (size_t i = 0; i < states; i++) ort->ReleaseValue(fed[first + i]), fed[first + i] = got[1 + i];
    }

    /* Safetensors: the length of the header, the header as JSON, the tensors. Whole or not at all. */
    char part[4096], *header = (char *)malloc(states * (NAME + 256) + 16), *h = header;
    size_t place = 0;
    snprintf(part, sizeof part, "%s.part", argv[5]);
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
    int whole = out && fwrite(&length, 8, 1, out) == 1 && fwrite(header, 1, length, out) == length;
    for (size_t i = 0; whole && i < states; i++) {
        void *data;
        if (state[i].counts) continue;
        check(state[i].name, ort->GetTensorMutableData(fed[first + i], &data));
        whole = fwrite(data, sizeof(float), state[i].count, out) == state[i].count;
    }
    if (!whole || fclose(out) || rename(part, argv[5])) fail(argv[5], "cannot be written");
    printf("wrote %s\n", argv[5]);
    return 0;
}
