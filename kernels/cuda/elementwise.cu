// What is computed value by value: gate = silu(gate) * up with silu(x) = x / (1 + exp(-x)), x = x + y, and a
// row added to each row.
// Reference: `ops::silu_times`, and the sums.
// Grid: a block for each 256 values. Block: 256 threads.
// Registers: 24 at most.
#include "words.cuh"

constexpr u32 THREADS = 256;

extern "C" __global__ void __launch_bounds__(THREADS)
    silu_times(float *__restrict__ gate, const float *__restrict__ up, u64 count) {
    u64 at = u64(blockIdx.x) * THREADS + threadIdx.x;
    if (at < count) {
        float x = gate[at];
        gate[at] = x / (1.0f + expf(-x)) * up[at];
    }
}
KERNEL(silu_times)

extern "C" __global__ void __launch_bounds__(THREADS) add(float *__restrict__ x, const float *__restrict__ y, u64 count) {
    u64 at = u64(blockIdx.x) * THREADS + threadIdx.x;
    if (at < count) {
        x[at] += y[at];
    }
}
KERNEL(add)

// x: rows of `length` numbers.
extern "C" __global__ void __launch_bounds__(THREADS)
    add_to_rows(float *__restrict__ x, const float *__restrict__ row, u64 count, u32 length) {
    u64 at = u64(blockIdx.x) * THREADS + threadIdx.x;
    if (at < count) {
        x[at] += row[at % length];
    }
}
KERNEL(add_to_rows)
