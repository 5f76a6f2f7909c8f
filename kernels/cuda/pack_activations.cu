// Vectors of singles to halves, eight by eight, in the order in which matmul_few's lanes need them, each times a power of two, so
// that its largest magnitude comes to lie between 512 and 1024: halves have no more than 65504; and the sums of each 32 halves.
// Reference: `half::f16` of the numbers times that power.
// Grid: a block for each column, a multiple of eight; those that are not there become zeros. Block: 256 threads.
// Registers: 40 at most.
#include "words.cuh"

constexpr u32 THREADS = 256;

// A power of two that brings the largest magnitude of a vector between 512 and 1024; 1 where that is zero or not finite. A block of
// THREADS threads works on it; `tops` is shared by them.
__device__ __forceinline__ float power_for(const float *vector, u32 count, float *tops) {
    float top = 0;
    for (u32 i = threadIdx.x; i < count; i += THREADS) {
        float size = magnitude(vector[i]);
        top = size > top ? size : top;
    }
    tops[threadIdx.x] = top;
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half && tops[threadIdx.x + half] > tops[threadIdx.x]) {
            tops[threadIdx.x] = tops[threadIdx.x + half];
        }
    }
    __syncthreads();
    // The exponent of the largest one; vectors of zeros, and those with numbers that are not finite, stay as they are.
    u32 exponent = __float_as_uint(tops[0]) >> 23;
    exponent = exponent == 0 || exponent == 255 ? 127 + 9 : exponent < 10 ? 10 : exponent;
    return __uint_as_float((127 + 9 + 127 - exponent) << 23);
}

// x: `columns` vectors of `length` numbers. tiles: of 64 numbers, the last one filled up with zeros. scales: what products
// have to be multiplied by. totals: of each tile, the sums of its halves' numbers for eight columns, then those of the others.
extern "C" __global__ void __launch_bounds__(THREADS)
    pack_activations(const float *__restrict__ x, u16 *__restrict__ halves, float *__restrict__ scales,
                     float *__restrict__ totals, u32 length, u32 tiles, u32 columns) {
    __shared__ float tops[THREADS];
    u32 column = blockIdx.x;
    const float *own = x + u64(column) * length;
    u32 count = column < columns ? length : 0;
    float power = power_for(own, count, tops);
    float back = 1.0f / power;
    if (threadIdx.x == 0) {
        scales[column] = back;
    }
    u16 *eight = halves + u64(column / 8) * tiles * 512;
    for (u32 i = threadIdx.x; i < tiles * 64; i += THREADS) {
        // Lane 4 g + q has of column g the numbers 4 q to 4 q + 3 of each 16; first come the lanes' numbers of 32, then of the others.
        u32 lane = column % 8 * 4 + i % 16 / 4;
        u64 at = (u64(i / 32) * 32 + lane) * 8 + i % 32 / 16 * 4 + i % 4;
        eight[at] = half_bits(i < count ? own[i] * power : 0.0f);
    }
    float *sums = totals + u64(column / 8) * tiles * 16 + column % 8;
    for (u32 group = threadIdx.x; group < tiles * 2; group += THREADS) {
        float sum = 0;
        for (u32 i = group * 32; i < group * 32 + 32 && i < count; i++) {
            sum += half_value(half_bits(own[i] * power));
        }
        sums[group * 8] = sum;
    }
}
KERNEL(pack_activations)
