// A CUDA driver without a GPU: as much of libcuda as kernels are launched with, over the emulator. The device's memory is the
// process's own, in allocations with red zones; the streams are one that waits for everything.
//
// The environment says what kind of driver and device it is to be: STANDIN_VERSION (12040), STANDIN_DEVICES (1),
// STANDIN_CAPABILITY (80), STANDIN_MEMORY (bytes), STANDIN_LOAD (what loading a module gives),
// STANDIN_TARGET (the only one that a module may be for), STANDIN_CAPTURE (0 for a driver that records nothing), STANDIN_COUNT (tell how much was launched).
#include "emulator.h"
#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

namespace {

enum Result { SUCCESS = 0, INVALID = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, NOT_FOUND = 500, NOT_CAPTURED = 900 };
// Of a device.
enum Attribute { MULTIPROCESSORS = 16, MAJOR = 75, MINOR = 76 };

const size_t ZONE = 256;
const char UNTOUCHED = char(0xa5);

std::mutex mutex;
// Sizes of allocations, by their addresses.
std::map<uintptr_t, size_t> allocations;
size_t used;

size_t setting(const char *name, size_t usual) {
    const char *text = getenv(name);
    return text ? strtoull(text, nullptr, 10) : usual;
}

size_t memory() { return setting("STANDIN_MEMORY", size_t(8) << 30); }

Result allocate(uint64_t *address, size_t bytes) {
    std::lock_guard<std::mutex> lock(mutex);
    if (bytes == 0) {
        return INVALID;
    }
    if (bytes > memory() - used) {
        return OUT_OF_MEMORY;
    }
    size_t whole = (bytes + 2 * ZONE + 255) / 256 * 256;
    char *start = static_cast<char *>(aligned_alloc(256, whole));
    memset(start, UNTOUCHED, whole);
    *address = uintptr_t(start + ZONE);
    allocations[*address] = bytes;
    used += bytes;
    return SUCCESS;
}

Result release(uint64_t address) {
    std::lock_guard<std::mutex> lock(mutex);
    auto found = allocations.find(address);
    if (found == allocations.end()) {
        return INVALID;
    }
    char *start = reinterpret_cast<char *>(address) - ZONE;
    for (size_t i = 0; i < ZONE; i++) {
        if (start[i] != UNTOUCHED || start[ZONE + found->second + i] != UNTOUCHED) {
            emulator::fail("a kernel wrote outside of", "an allocation");
        }
    }
    used -= found->second;
    allocations.erase(found);
    free(start);
    return SUCCESS;
}

bool is_inside(uint64_t address, size_t bytes) {
    std::lock_guard<std::mutex> lock(mutex);
    auto after = allocations.upper_bound(address);
    if (after == allocations.begin()) {
        return false;
    }
    auto own = std::prev(after);
    return address + bytes <= own->first + own->second;
}

void *at(uint64_t address) { return reinterpret_cast<void *>(address); }

// A launch, which has its arguments by itself.
struct Node {
    const emulator::Kernel *kernel;
    unsigned grid[3], block[3], shared;
    std::vector<std::array<char, 8>> arguments;
};

struct Graph {
    std::vector<Node> nodes;
};

// What is recorded, while something is.
Graph *recording;

// Told at the end, if that is asked for.
struct Count {
    size_t launches, graphs;
    ~Count() {
        if (getenv("STANDIN_COUNT")) {
            fprintf(stderr, "stand-in: %zu launches, %zu graphs\n", launches, graphs);
        }
    }
} count;

void launch(Node &node) {
    std::vector<void *> arguments;
    for (auto &argument : node.arguments) {
        arguments.push_back(argument.data());
    }
    emulator::launch(*node.kernel, {node.grid[0], node.grid[1], node.grid[2]}, {node.block[0], node.block[1], node.block[2]},
                     node.shared, arguments.data(), emulator::Order::Random, 1);
}

// Contexts, streams, events and modules are never looked into.
void *const SOMETHING = reinterpret_cast<void *>(1);
thread_local void *current;

} // namespace

#define API extern "C" __attribute__((visibility("default"))) Result

API cuInit(unsigned) { return setting("STANDIN_DEVICES", 1) ? SUCCESS : NO_DEVICE; }
API cuDriverGetVersion(int *version) {
    *version = int(setting("STANDIN_VERSION", 12040));
    return SUCCESS;
}
API cuDeviceGetCount(int *count) {
    *count = int(setting("STANDIN_DEVICES", 1));
    return SUCCESS;
}
API cuDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return size_t(ordinal) < setting("STANDIN_DEVICES", 1) ? SUCCESS : INVALID_DEVICE;
}
API cuDeviceGetName(char *name, int room, int) {
    snprintf(name, size_t(room), "stand-in");
    return SUCCESS;
}
API cuDeviceGetAttribute(int *value, int attribute, int) {
    int capability = int(setting("STANDIN_CAPABILITY", 80));
    *value = attribute == MAJOR ? capability / 10 : attribute == MINOR ? capability % 10 : 0;
    if (attribute == MULTIPROCESSORS) {
        *value = 8;
    }
    return SUCCESS;
}
API cuDevicePrimaryCtxRetain(void **context, int) {
    *context = SOMETHING;
    return SUCCESS;
}
API cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
API cuCtxSetCurrent(void *context) {
    current = context;
    return SUCCESS;
}
API cuCtxGetCurrent(void **context) {
    *context = current;
    return SUCCESS;
}
API cuCtxSynchronize() { return SUCCESS; }
API cuMemGetInfo_v2(size_t *free, size_t *total) {
    *total = memory();
    *free = *total - used;
    return SUCCESS;
}

API cuStreamCreate(void **stream, unsigned) {
    *stream = SOMETHING;
    return SUCCESS;
}
API cuStreamDestroy_v2(void *) { return SUCCESS; }
API cuStreamSynchronize(void *) { return SUCCESS; }
API cuStreamWaitEvent(void *, void *, unsigned) { return SUCCESS; }
API cuStreamIsCapturing(void *, int *status) {
    *status = recording ? 1 : 0;
    return SUCCESS;
}
API cuStreamBeginCapture_v2(void *, int) {
    if (setting("STANDIN_CAPTURE", 1) == 0) {
        return NOT_CAPTURED;
    }
    recording = new Graph;
    return SUCCESS;
}
API cuStreamEndCapture(void *, Graph **graph) {
    *graph = recording;
    recording = nullptr;
    return SUCCESS;
}
API cuGraphInstantiateWithFlags(Graph **executable, const Graph *graph, unsigned long long) {
    *executable = new Graph(*graph);
    return SUCCESS;
}
API cuGraphLaunch(Graph *executable, void *) {
    count.graphs++;
    for (Node &node : executable->nodes) {
        launch(node);
    }
    return SUCCESS;
}
API cuGraphDestroy(Graph *graph) {
    delete graph;
    return SUCCESS;
}
API cuGraphExecDestroy(Graph *executable) {
    delete executable;
    return SUCCESS;
}
API cuEventCreate(void **event, unsigned) {
    *event = SOMETHING;
    return SUCCESS;
}
API cuEventDestroy_v2(void *) { return SUCCESS; }
API cuEventRecord(void *, void *) { return SUCCESS; }
API cuEventSynchronize(void *) { return SUCCESS; }

API cuMemAlloc_v2(uint64_t *address, size_t bytes) { return recording ? NOT_CAPTURED : allocate(address, bytes); }
API cuMemFree_v2(uint64_t address) { return release(address); }
API cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *) {
    if (!is_inside(to, bytes)) {
        return INVALID;
    }
    memcpy(at(to), from, bytes);
    return SUCCESS;
}
API cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *) {
    if (!is_inside(from, bytes)) {
        return INVALID;
    }
    memcpy(to, at(from), bytes);
    return SUCCESS;
}
API cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *) {
    if (!is_inside(to, bytes) || !is_inside(from, bytes)) {
        return INVALID;
    }
    memcpy(at(to), at(from), bytes);
    return SUCCESS;
}
API cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void *) {
    if (!is_inside(to, bytes)) {
        return INVALID;
    }
    memset(at(to), value, bytes);
    return SUCCESS;
}

API cuModuleLoadData(void **module, const void *image) {
    // The kernels are here already; what would be loaded is looked at a little.
    const char *text = static_cast<const char *>(image);
    const char *target = getenv("STANDIN_TARGET");
    bool is_ptx = strstr(text, ".entry") && (!target || strstr(text, target));
    *module = SOMETHING;
    return Result(setting("STANDIN_LOAD", is_ptx ? SUCCESS : INVALID));
}
API cuModuleUnload(void *) { return SUCCESS; }
API cuModuleGetFunction(void **function, void *, const char *name) {
    const emulator::Kernel *kernel = emulator::find(name);
    *function = const_cast<emulator::Kernel *>(kernel);
    return kernel ? SUCCESS : NOT_FOUND;
}
API cuLaunchKernel(const emulator::Kernel *kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                   unsigned block_y, unsigned block_z, unsigned shared, void *, void **arguments, void **) {
    static std::mutex one;
    std::lock_guard<std::mutex> lock(one);
    Node node = {kernel, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared, {}};
    for (size_t i = 0; i < kernel->arguments; i++) {
        node.arguments.emplace_back();
        memcpy(node.arguments.back().data(), arguments[i], 8);
    }
    if (recording) {
        recording->nodes.push_back(node);
    } else {
        count.launches++;
        launch(node);
    }
    return SUCCESS;
}

API cuGetErrorString(int error, const char **text) {
    static const std::map<int, const char *> texts = {
        {INVALID, "invalid argument"},
        {OUT_OF_MEMORY, "out of memory"},
        {NO_DEVICE, "no CUDA-capable device is detected"},
        {218, "a PTX JIT compilation failed"},
        {NOT_FOUND, "named symbol not found"},
        {NOT_CAPTURED, "operation not permitted when stream is capturing"},
    };
    auto found = texts.find(error);
    *text = found == texts.end() ? "unknown error" : found->second;
    return SUCCESS;
}
API cuGetErrorName(int error, const char **text) { return cuGetErrorString(error, text); }
