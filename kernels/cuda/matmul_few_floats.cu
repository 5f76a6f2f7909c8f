// Y = W X for weights of bf16, f16 and f32, and up to eight columns of X, in singles: a warp has two or four rows at a time, so
// that what it reads of X serves all of them. Lanes add up every 256th eight columns, and then each other in a fixed tree.
// Reference: the sum of products in double precision.
// Grid: a block for each 32 rows, 16 of f32. Block: 256 threads.
// Registers: 128 at most.
#include "words.cuh"

constexpr u32 WARPS = 8;

// Eight weights of a row.
struct Bf16 {
    static const u32 ROWS = 4;
    uint4 words;
    __device__ void load(const uint4 *w, u64 eight) { words = w[eight]; }
    __device__ void clear() { words = {0, 0, 0, 0}; }
    __device__ u32 word(u32 n) const { return n == 0 ? words.x : n == 1 ? words.y : n == 2 ? words.z : words.w; }
    __device__ float value(u32 n) const {
        return __uint_as_float(n % 2 == 0 ? word(n / 2) << 16 : word(n / 2) & 0xffff0000);
    }
};

struct F16 : Bf16 {
    __device__ float value(u32 n) const { return half_value(u16(word(n / 2) >> (16 * (n % 2)))); }
};

struct F32 {
    static const u32 ROWS = 2;
    uint4 low, high;
    __device__ void load(const uint4 *w, u64 eight) {
        low = w[2 * eight];
        high = w[2 * eight + 1];
    }
    __device__ void clear() { low = high = {0, 0, 0, 0}; }
    __device__ float value(u32 n) const {
        const uint4 &half = n < 4 ? low : high;
        return __uint_as_float(n % 4 == 0 ? half.x : n % 4 == 1 ? half.y : n % 4 == 2 ? half.z : half.w);
    }
};

// `length` is a multiple of 8, and so are the addresses' places.
template <class Eight, u32 COLUMNS>
__device__ __forceinline__ void matmul_few(const uint4 *w, const float4 *x, float *y, u32 rows, u32 length) {
    constexpr u32 ROWS = Eight::ROWS;
    u32 lane = threadIdx.x % 32, first = (blockIdx.x * WARPS + threadIdx.x / 32) * ROWS;
    float sums[ROWS][COLUMNS] = {};
    for (u32 i = lane; i < length / 8; i += 32) {
        Eight eights[ROWS];
#pragma unroll
        for (u32 r = 0; r < ROWS; r++) {
            if (first + r < rows) {
                eights[r].load(w, u64(first + r) * (length / 8) + i);
            } else {
                eights[r].clear();
            }
        }
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
#pragma unroll
            for (u32 c = 0; c < COLUMNS; c++) {
                float4 four = x[u64(c) * (length / 4) + 2 * i + half];
                const float numbers[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
                for (u32 r = 0; r < ROWS; r++) {
#pragma unroll
                    for (u32 n = 0; n < 4; n++) {
                        sums[r][c] = fmaf(eights[r].value(4 * half + n), numbers[n], sums[r][c]);
                    }
                }
            }
        }
    }
#pragma unroll
    for (u32 r = 0; r < ROWS; r++) {
#pragma unroll
        for (u32 c = 0; c < COLUMNS; c++) {
            float sum = warp_sum(sums[r][c]);
            if (lane == 0 && first + r < rows) {
                y[u64(c) * rows + first + r] = sum;
            }
        }
    }
}

#define MATMUL_FEW(name, Eight, COLUMNS)                                                                               \
    extern "C" __global__ void __launch_bounds__(WARPS * 32) matmul_few_##name##_##COLUMNS(                            \
        const uint4 *__restrict__ w, const float4 *__restrict__ x, float *__restrict__ y, u32 rows, u32 length) {      \
        matmul_few<Eight, COLUMNS>(w, x, y, rows, length);                                                             \
    }                                                                                                                  \
    KERNEL(matmul_few_##name##_##COLUMNS)

#define MATMULS(name, Eight)                                                                                           \
    MATMUL_FEW(name, Eight, 1)                                                                                         \
    MATMUL_FEW(name, Eight, 2)                                                                                         \
    MATMUL_FEW(name, Eight, 3)                                                                                         \
    MATMUL_FEW(name, Eight, 4)                                                                                         \
    MATMUL_FEW(name, Eight, 5)                                                                                         \
    MATMUL_FEW(name, Eight, 6)                                                                                         \
    MATMUL_FEW(name, Eight, 7)                                                                                         \
    MATMUL_FEW(name, Eight, 8)

MATMULS(bf16, Bf16)
MATMULS(f16, F16)
MATMULS(f32, F32)
