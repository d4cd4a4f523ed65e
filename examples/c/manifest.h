/* What a manifest says of a bundle's ports. It is JSON as spgraph writes it, and read by searching for its keys; a program with a JSON library at hand takes that. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 4096, SCALARS = 64, NAME = 512, RANK = 8 };
typedef struct { char name[NAME], input[NAME], output[NAME]; int64_t shape[RANK]; size_t rank, count; int counts; } Tensor;
typedef struct { char name[NAME]; float value; } Scalar;

/* The ports of a step: batch, scalars, state; the loss. */
static Tensor image, label, state[MOST];
static Scalar scalars[SCALARS];
static size_t scalar_count, states;
static char loss[NAME];
static long classes;

static void fail(const char *what, const char *why) {
    fprintf(stderr, "error: %s: %s\n", what, why);
    exit(1);
}

static char *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path, "cannot be opened");
    fseek(file, 0, SEEK_END);
    long length = ftell(file);
    rewind(file);
    char *data = length < 0 ? NULL : (char *)calloc((size_t)length + 1, 1);
    if (!data || fread(data, 1, (size_t)length, file) != (size_t)length) fail(path, "cannot be read");
    fclose(file);
    *size = (size_t)length;
    return data;
}

/* What follows `"key": ` after `at`. */
static const char *after(const char *at, const char *key) {
    char sought[NAME];
    snprintf(sought, sizeof sought, "\"%s\": ", key);
    const char *found = at ? strstr(at, sought) : NULL;
    if (!found) fail("the manifest", "it is damaged, or of another format than 2: rewrite the model again");
    return found + strlen(sought);
}

static const char *string(const char *at, const char *key, char *out) {
    const char *value = after(at, key) + 1, *end = value + strcspn(value, "\"");
    if ((size_t)(end - value) >= NAME || memchr(value, '\\', (size_t)(end - value))) fail("the manifest", "a name is longer than this program takes, or has an escape");
    memcpy(out, value, (size_t)(end - value));
    out[end - value] = 0;
    return end;
}

static const char *shape(const char *at, Tensor *t) {
    const char *c = after(at, "shape") + 1;
    for (t->rank = 0, t->count = 1; *(c += strspn(c, " ,\n")) != ']';) {
        if (t->rank == RANK) fail(t->name, "it has more than 8 dimensions");
        char *end;
        t->shape[t->rank] = strtoll(c, &end, 10);
        if (end == c || t->shape[t->rank] < 0) fail("the manifest", "this program takes a fixed batch: rewrite with --batch N");
        t->count *= (size_t)t->shape[t->rank++];
        c = end;
    }
    return c;
}

/* The next entry of a list of objects that ends at `end`. */
static const char *entry(const char *at, const char *end) {
    const char *found = strstr(at, "\"name\": ");
    return found && found < end ? found : NULL;
}

static void read_manifest(const char *manifest, float rate) {
    char word[NAME];
    string(after(manifest, "input"), "name", image.name);
    shape(after(manifest, "input"), &image);
    const char *at = string(after(manifest, "target"), "name", label.name), *end;
    string(at, "dtype", word);
    if (strcmp(word, "int64")) fail(label.name, "this program trains one class for each image");
    shape(at, &label);
    classes = strtol(after(manifest, "class_count"), NULL, 10);
    end = strstr(at = after(manifest, "state"), "\n  ]");
    while ((at = entry(at, end))) {
        if (states == MOST) fail("the manifest", "it has more tensors than this program takes");
        Tensor *t = &state[states++];
        string(at, "name", t->name);
        string(at, "dtype", word);
        t->counts = !strcmp(word, "int64"); /* the seed and the step of dropout's masks, which are no weights */
        if (!t->counts && strcmp(word, "float32")) fail(t->name, "this program trains float32");
        shape(at, t);
        string(at, "input", t->input);
        at = string(at, "output", t->output);
    }
    end = strstr(at = after(manifest, "scalars"), "\n  ]");
    while ((at = entry(at, end))) {
        if (scalar_count == SCALARS) fail("the manifest", "it has more scalars than this program takes");
        Scalar *s = &scalars[scalar_count++];
        string(at, "name", s->name);
        at = string(at, "meaning", word);
        s->value = strcmp(word, "learning-rate") ? strtof(after(at, "default"), NULL) : rate;
    }
    string(after(manifest, "outputs"), "name", loss); /* the first is the loss */
}
