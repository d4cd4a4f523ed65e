/* A stand-in for the libraries of CUDA that ONNX Runtime's CUDA provider calls: the device's memory is the host's, copies copy, and kernels do nothing.
 * With it the provider of the pinned wheel starts on a machine without a GPU: it lists its kernels, says which nodes it takes, allocates, binds and
 * copies. What nodes compute is not computed. Built by build.py, which appends `RETURNS_ZERO(name)` for each other function that the provider calls.
 */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define API __attribute__((visibility("default")))
#define RETURNS_ZERO(name) API int name(void) { return 0; }
/* A handle that is not null, in the first argument. */
#define CREATES(name) API int name(void **handle) { *handle = malloc(4096); return 0; }

static size_t number_of(const char *variable, size_t otherwise) {
    const char *text = getenv(variable);
    return text && *text ? (size_t)strtoull(text, NULL, 10) : otherwise;
}

static int version(void) { return (int)number_of("STAND_IN_CUDA_DRIVER", 13000); }
static int devices(void) { return (int)number_of("STAND_IN_CUDA_DEVICES", 1); }
static size_t total(void) { return number_of("STAND_IN_CUDA_MEMORY", (size_t)8 << 30); }
static size_t allocated;

/* What is asked of it, a line each, in the file of that name. */
static void noted(const char *what, const void *stream) {
    const char *path = getenv("STAND_IN_CUDA_LOG");
    FILE *file = path && *path ? fopen(path, "a") : NULL;
    if (file) { fprintf(file, "%s %p\n", what, stream); fclose(file); }
}

/* While a graph is recorded the device takes no call that would wait for it, or that changes its memory. */
static int recording;
#define NOT_WHILE_RECORDING(what) do { if (recording) { noted("refused-" what, NULL); return 900; } } while (0)

/* The driver: what the doctor asks. */
API int cuInit(unsigned flags) { (void)flags; return (int)number_of("STAND_IN_CUDA_INIT", 0); }
API int cuDriverGetVersion(int *out) { *out = version(); return 0; }
API int cuDeviceGetCount(int *out) { *out = devices(); return 0; }
API int cuDeviceGet(int *out, int index) { *out = index; return index < devices() ? 0 : 101; }
API int cuDeviceGetName(char *out, int length, int device) { (void)device; strncpy(out, "stand-in", (size_t)length); return 0; }
API int cuDeviceTotalMem_v2(size_t *out, int device) { (void)device; *out = total(); return 0; }
API int cuDeviceGetAttribute(int *out, int attribute, int device) {
    (void)device;
    int capability = (int)number_of("STAND_IN_CUDA_CAPABILITY", 90);
    *out = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : 1024;
    return 0;
}
API int cuDevicePrimaryCtxRetain(void **out, int device) { (void)device; *out = malloc(16); return 0; }
API int cuDevicePrimaryCtxRelease_v2(int device) { (void)device; return 0; }
API int cuCtxSetCurrent(void *context) { (void)context; return 0; }
API int cuMemGetInfo_v2(size_t *free_, size_t *total_) { *total_ = total(); *free_ = number_of("STAND_IN_CUDA_FREE", total()); return 0; }

/* The runtime. */
API int cudaGetDeviceCount(int *out) { *out = devices(); return 0; }
API int cudaGetDevice(int *out) { *out = 0; return 0; }
API int cudaSetDevice(int index) { return index < devices() ? 0 : 101; }
API int cudaDriverGetVersion(int *out) { *out = version(); return 0; }
API int cudaRuntimeGetVersion(int *out) { *out = 13000; return 0; }
API int cudaDeviceGetAttribute(int *out, int attribute, int device) { return cuDeviceGetAttribute(out, attribute, device); }
API const char *cudaGetErrorName(int e) { return e ? "an error of the stand-in" : "cudaSuccess"; }
API const char *cudaGetErrorString(int e) { return e == 101 ? "invalid device ordinal" : e == 2 ? "out of memory" : e ? "an error of the stand-in" : "no error"; }
API int cudaGetDeviceProperties(char *out, int device) {
    struct { char name[256]; char uuid[16]; char luid[8]; unsigned mask; size_t memory, shared; int registers, warp; size_t pitch;
             int threads, dim[3], grid[3]; size_t constant; int major, minor; size_t texture, texture_pitch; int processors; } head = {0};
    strcpy(head.name, "stand-in");
    head.memory = total(); head.shared = 49152; head.registers = 65536; head.warp = 32; head.threads = 1024;
    head.major = (int)number_of("STAND_IN_CUDA_CAPABILITY", 90) / 10; head.minor = (int)number_of("STAND_IN_CUDA_CAPABILITY", 90) % 10;
    head.processors = 132;
    for (int i = 0; i < 3; i++) { head.dim[i] = 1024; head.grid[i] = 65535; }
    memset(out, 0, 1008);
    memcpy(out, &head, sizeof head);
    (void)device;
    return 0;
}
API int cudaMemGetInfo(size_t *free_, size_t *total_) { return cuMemGetInfo_v2(free_, total_); }
API int cudaMalloc(void **out, size_t size) {
    NOT_WHILE_RECORDING("malloc");
    if (allocated + size > total()) { *out = NULL; return 2; }
    allocated += size;
    *out = aligned_alloc(256, (size + 511) / 256 * 256);
    if (*out) memset(*out, 0, size);
    return *out ? 0 : 2;
}
API int cudaFree(void *p) { NOT_WHILE_RECORDING("free"); free(p); return 0; }
API int cudaFreeAsync(void *p, void *stream) { (void)stream; free(p); return 0; }
API int cudaHostAlloc(void **out, size_t size, unsigned flags) { NOT_WHILE_RECORDING("host-alloc"); (void)flags; *out = aligned_alloc(256, (size + 511) / 256 * 256); return *out ? 0 : 2; }
API int cudaMallocHost(void **out, size_t size) { return cudaHostAlloc(out, size, 0); }
API int cudaFreeHost(void *p) { free(p); return 0; }
static int copied(void *to, const void *from, size_t size, int kind, void *stream) {
    if (kind == 1 || kind == 2) noted(kind == 1 ? "upload" : "download", stream);
    memcpy(to, from, size);
    return 0;
}
API int cudaMemcpy(void *to, const void *from, size_t size, int kind) { NOT_WHILE_RECORDING("memcpy"); return copied(to, from, size, kind, NULL); }
API int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream) { return copied(to, from, size, kind, stream); }
API int cudaMemset(void *to, int value, size_t size) { memset(to, value, size); return 0; }
API int cudaMemsetAsync(void *to, int value, size_t size, void *stream) { (void)stream; return cudaMemset(to, value, size); }
CREATES(cudaStreamCreate)
CREATES(cudaStreamCreateWithFlags)
CREATES(cudaEventCreate)
CREATES(cudaEventCreateWithFlags)
CREATES(cudaMemPoolCreate)
CREATES(cudaGraphInstantiate)
API int cudaStreamBeginCapture(void *stream, int mode) { (void)mode; noted("record", stream); recording = 1; return 0; }
API int cudaStreamEndCapture(void *stream, void **graph) { noted("recorded", stream); recording = 0; *graph = malloc(16); return 0; }
API int cudaStreamIsCapturing(void *stream, int *status) { (void)stream; *status = recording; return 0; }
API int cudaGraphLaunch(void *graph, void *stream) { (void)graph; noted("launch", stream); return 0; }
API int cudaStreamSynchronize(void *stream) { NOT_WHILE_RECORDING("wait"); noted("wait", stream); return 0; }
API int cudaDeviceSynchronize(void) { NOT_WHILE_RECORDING("wait"); noted("wait-all", NULL); return 0; }
API int cudaEventElapsedTime(float *out, void *a, void *b) { (void)a; (void)b; *out = 1; return 0; }
API int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *out) { *out = 1; return 0; }
API int cudaFuncGetAttributes(void *out, const void *f) { (void)f; memset(out, 0, 64); return 0; }
API int cudaPointerGetAttributes(void *out, const void *p) { (void)p; memset(out, 0, 32); return 0; }
API int cudaGetDriverEntryPointByVersion(const char *name, void **out, unsigned v, unsigned long long flags, int *status) {
    (void)name; (void)v; (void)flags; *out = NULL; if (status) *status = 1; return 0;
}
static int configuration[8];
API int __cudaPushCallConfiguration(void) { return 0; }
API int __cudaPopCallConfiguration(void *grid, void *block, size_t *shared, void *stream) {
    (void)grid; (void)block; *shared = 0; *(void **)stream = configuration; return 0;
}
API void **__cudaRegisterFatBinary(void *binary) { (void)binary; return (void **)configuration; }

/* cuBLAS, cuDNN. */
CREATES(cublasCreate_v2)
CREATES(cublasLtCreate)
CREATES(cublasLtMatmulDescCreate)
CREATES(cublasLtMatrixLayoutCreate)
CREATES(cublasLtMatmulPreferenceCreate)
CREATES(cublasLtMatrixTransformDescCreate)
API const char *cublasGetStatusName(int s) { (void)s; return "a status of the stand-in"; }
API const char *cublasGetStatusString(int s) { (void)s; return "a status of the stand-in"; }

/* TensorRT, so far that its provider starts: the list of all providers' kernels asks it as well. Every method of its objects gives 0. */
static void *nothing(void) { return NULL; }
#define FOUR nothing, nothing, nothing, nothing
static void *(*const methods[64])(void) = {FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR, FOUR};
static const void *const inner[2] = {methods, methods};
static const void *const object[3] = {methods, inner, inner};
API const void *createInferRuntime_INTERNAL(void) { return object; }
API const void *createInferBuilder_INTERNAL(void) { return object; }
API const void *createInferRefitter_INTERNAL(void) { return object; }
API const void *createNvOnnxParser_INTERNAL(void) { return object; }
API const void *createNvOnnxParserRefitter_INTERNAL(void) { return object; }
API const void *getPluginRegistry(void) { return object; }
API int getInferLibVersion(void) { return 101300; }
