// Kernels with the mistakes that the emulator is there for: tests see to it that it finds them.
#include "../words.cuh"

// Reads what another thread writes, with no barrier between.
extern "C" __global__ void broken_race(u32 *out) {
    __shared__ u32 words[64];
    words[threadIdx.x] = threadIdx.x;
    out[threadIdx.x] = words[(threadIdx.x + 1) % 64];
}
KERNEL(broken_race)

// Reads shared memory that nothing was written to.
extern "C" __global__ void broken_unwritten(u32 *out) {
    __shared__ u32 words[64];
    if (threadIdx.x == 0) {
        words[0] = 1;
    }
    __syncthreads();
    out[threadIdx.x] = words[threadIdx.x];
}
KERNEL(broken_unwritten)

// Writes behind its buffer.
extern "C" __global__ void broken_bounds(u32 *out) { out[threadIdx.x + 1] = threadIdx.x; }
KERNEL(broken_bounds)

// A barrier that half of the threads do not come to.
extern "C" __global__ void broken_barrier(u32 *out) {
    if (threadIdx.x < 32) {
        __syncthreads();
    }
    out[threadIdx.x] = threadIdx.x;
}
KERNEL(broken_barrier)

// A shuffle that some lanes do not come to.
extern "C" __global__ void broken_shuffle(u32 *out) {
    u32 value = threadIdx.x;
    if (threadIdx.x % 32 != 5) {
        value = __shfl_xor_sync(0xffffffffu, value, 1u);
    }
    out[threadIdx.x] = value;
}
KERNEL(broken_shuffle)

// A whole one: barriers, shared memory of both kinds, shuffles.
extern "C" __global__ void sound(u32 *out) {
    __shared__ u32 words[64];
    DYNAMIC_SHARED(u32, more);
    words[threadIdx.x] = threadIdx.x;
    __syncthreads();
    more[threadIdx.x] = words[63 - threadIdx.x];
    __syncthreads();
    u32 value = more[(threadIdx.x + 1) % 64];
    out[blockIdx.x * 64 + threadIdx.x] = value + __shfl_xor_sync(0xffffffffu, value, 1u);
}
KERNEL(sound)
