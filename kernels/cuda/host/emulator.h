// CUDA's words for a host compiler: kernels run on the CPU, so that they can be tested on a machine without a GPU.
//
// Every CUDA thread is a fiber. Fibers of one block take turns: each runs until it has to wait for others, which is the
// schedule that shows a missing barrier most surely. Blocks come one after the other. What is checked:
//   - shared memory is filled with a pattern before each block, so that nothing is read that was not written;
//   - barriers and warp operations are met by all threads that must meet there, and at the same place of the source;
//   - with -fsanitize=thread, races within a block, also those that no schedule here would show;
//   - with -fsanitize=address, accesses outside of buffers.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

struct dim3 {
    unsigned x, y, z;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

namespace emulator {

// In which order threads of a block take turns.
enum class Order : unsigned { Forward, Reverse, Random };

using Body = void (*)(void **arguments);

// A kernel's name; construction makes it known.
struct Kernel {
    const char *name;
    Body body;
    // How many arguments it takes.
    size_t arguments;
    Kernel *next;
    Kernel(const char *name, Body body, size_t arguments);
};

// The kernel with this name, or nothing.
const Kernel *find(const char *name);

// Run all blocks. What is wrong ends the process with a message.
void launch(const Kernel &kernel, dim3 grid, dim3 block, size_t shared, void **arguments, Order order, unsigned seed);

dim3 thread();
dim3 block();
dim3 block_size();
dim3 grid_size();
char *dynamic_shared();
[[noreturn]] void fail(const char *what, const char *where);

// Wait for all threads of the block.
void block_barrier(const char *where);
// Give `bytes` of `own` to the warp, take those of lane `from`.
void exchange(const void *own, void *theirs, size_t bytes, unsigned from, unsigned mask, const char *where);
void warp_barrier(unsigned mask, const char *where);
// D (16 x 8) += A (16 x 16) B (16 x 8) of halves, in the fragments that PTX has for m16n8k16.
void mma_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const char *where);
unsigned lane();

template <class... A, size_t... I> void call(void (*kernel)(A...), void **arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<std::remove_reference_t<A>> *>(arguments[I])...);
}
template <class... A> void call(void (*kernel)(A...), void **arguments) {
    call(kernel, arguments, std::index_sequence_for<A...>{});
}

template <class... A> constexpr size_t count(void (*)(A...)) { return sizeof...(A); }

template <class T> T shuffle(unsigned mask, T own, unsigned from, const char *where) {
    T theirs;
    exchange(&own, &theirs, sizeof(T), from % 32, mask, where);
    return theirs;
}

} // namespace emulator

#define EMULATOR_TEXT_OF(x) #x
#define EMULATOR_TEXT(x) EMULATOR_TEXT_OF(x)
#define EMULATOR_HERE __FILE__ ":" EMULATOR_TEXT(__LINE__)

#define threadIdx (emulator::thread())
#define blockIdx (emulator::block())
#define blockDim (emulator::block_size())
#define gridDim (emulator::grid_size())

#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __shared__ static __attribute__((section("cuda_shared")))
#define DYNAMIC_SHARED(type, name) type *name = reinterpret_cast<type *>(emulator::dynamic_shared())

#define __syncthreads() emulator::block_barrier(EMULATOR_HERE)
#define __syncwarp() emulator::warp_barrier(0xffffffffu, EMULATOR_HERE)
#define __shfl_sync(mask, own, from) emulator::shuffle(mask, own, from, EMULATOR_HERE)
#define __shfl_xor_sync(mask, own, with) emulator::shuffle(mask, own, emulator::lane() ^ (with), EMULATOR_HERE)

// A kernel that can be launched by its name.
#define KERNEL(name)                                                                                        \
    static emulator::Kernel kernel_##name(#name, [](void **arguments) { emulator::call(name, arguments); }, \
                                          emulator::count(name));

// A float of these bits, and the other way.
static inline float __uint_as_float(unsigned bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
static inline unsigned __float_as_uint(float value) {
    unsigned bits;
    memcpy(&bits, &value, 4);
    return bits;
}

// Bytes of a and b, as the nibbles of `selector` say; a set upper bit of a nibble is not emulated.
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
    uint64_t both = a | uint64_t(b) << 32;
    unsigned out = 0;
    for (int i = 0; i < 4; i++) {
        out |= unsigned(both >> (8 * (selector >> (4 * i) & 7)) & 255) << (8 * i);
    }
    return out;
}

// Products of four signed bytes each, and their sum with c.
static inline int __dp4a(int a, int b, int c) {
    for (int i = 0; i < 4; i++) {
        c += int(int8_t(a >> (8 * i))) * int(int8_t(b >> (8 * i)));
    }
    return c;
}
