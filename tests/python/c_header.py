"""The part of `onnxruntime_c_api.h` that examples/c needs, for machines without that header: the Python package has the library alone. Which function is at
which place is read from the bindings of the crate ort-sys, which spgraph is built with; places never change."""
import json
import pathlib
import re
import subprocess

TYPED = {
    "GetErrorMessage": "const char *(*GetErrorMessage)(const OrtStatus *)",
    "CreateEnv": "OrtStatus *(*CreateEnv)(OrtLoggingLevel, const char *, OrtEnv **)",
    "CreateSession": "OrtStatus *(*CreateSession)(const OrtEnv *, const char *, const OrtSessionOptions *, OrtSession **)",
    "Run": "OrtStatus *(*Run)(OrtSession *, const void *, const char *const *, const OrtValue *const *, size_t, const char *const *, size_t, OrtValue **)",
    "CreateSessionOptions": "OrtStatus *(*CreateSessionOptions)(OrtSessionOptions **)",
    "SetIntraOpNumThreads": "OrtStatus *(*SetIntraOpNumThreads)(OrtSessionOptions *, int)",
    "CreateTensorWithDataAsOrtValue": "OrtStatus *(*CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo *, void *, size_t, const int64_t *, size_t, ONNXTensorElementDataType, OrtValue **)",
    "GetTensorMutableData": "OrtStatus *(*GetTensorMutableData)(OrtValue *, void **)",
    "CreateCpuMemoryInfo": "OrtStatus *(*CreateCpuMemoryInfo)(OrtAllocatorType, OrtMemType, OrtMemoryInfo **)",
    "GetAllocatorWithDefaultOptions": "OrtStatus *(*GetAllocatorWithDefaultOptions)(OrtAllocator **)",
    "AllocatorFree": "OrtStatus *(*AllocatorFree)(OrtAllocator *, void *)",
    "SessionGetModelMetadata": "OrtStatus *(*SessionGetModelMetadata)(const OrtSession *, OrtModelMetadata **)",
    "ModelMetadataLookupCustomMetadataMap": "OrtStatus *(*ModelMetadataLookupCustomMetadataMap)(const OrtModelMetadata *, OrtAllocator *, const char *, char **)",
    "ReleaseModelMetadata": "void (*ReleaseModelMetadata)(OrtModelMetadata *)",
    "ReleaseValue": "void (*ReleaseValue)(OrtValue *)",
}
HEAD = """#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
typedef struct OrtStatus OrtStatus;
typedef struct OrtEnv OrtEnv;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtValue OrtValue;
typedef struct OrtAllocator OrtAllocator;
typedef struct OrtModelMetadata OrtModelMetadata;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef enum { ORT_LOGGING_LEVEL_ERROR = 3 } OrtLoggingLevel;
typedef enum { ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 = 7 } ONNXTensorElementDataType;
typedef enum { OrtArenaAllocator = 1 } OrtAllocatorType;
typedef enum { OrtMemTypeDefault = 0 } OrtMemType;
"""


def functions(root):
    """The names of the API's functions in their order."""
    data = json.loads(subprocess.run(["cargo", "metadata", "--format-version", "1", "--offline"], cwd=root, capture_output=True, text=True, check=True).stdout)
    (crate,) = (p for p in data["packages"] if p["name"] == "ort-sys")
    text = (pathlib.Path(crate["manifest_path"]).parent / "src" / "lib.rs").read_text()
    body = re.search(r"pub struct OrtApi \{(.*?)\n\}", text, re.S).group(1)
    # Some are there twice, for systems with other strings.
    return list(dict.fromkeys(re.findall(r"\n\tpub (\w+):", body)))


def write(root, path):
    names = functions(root)
    # The first release's functions end here, as its header asserts.
    assert names.index("ReleaseCustomOpDomain") == 101, names.index("ReleaseCustomOpDomain")
    fields = [f"    {TYPED.get(name, f'void *{name}')};" for name in names]
    tail = "typedef struct { const OrtApi *(*GetApi)(uint32_t); const char *(*GetVersionString)(void); } OrtApiBase;\nconst OrtApiBase *OrtGetApiBase(void);\n#ifdef __cplusplus\n}\n#endif\n"
    path.write_text(HEAD + "typedef struct {\n" + "\n".join(fields) + "\n} OrtApi;\n" + tail)
