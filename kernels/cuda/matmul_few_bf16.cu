// Y = W X for bf16 weights and up to eight columns of X, in singles: a warp has four rows at a time, so that what it reads of X
// serves all of them. Lanes add up every 256th eight columns, and then each other in a fixed tree.
// Reference: the sum of products in double precision.
// Grid: a block for each 32 rows. Block: 256 threads.
// Registers: 128 at most.
#include "words.cuh"

constexpr u32 WARPS = 8;
constexpr u32 ROWS = 4;

// `length` is a multiple of 8, and so are the addresses' places.
template <u32 COLUMNS>
__device__ __forceinline__ void matmul_few(const uint4 *w, const float4 *x, float *y, u32 rows, u32 length) {
    u32 lane = threadIdx.x % 32, first = (blockIdx.x * WARPS + threadIdx.x / 32) * ROWS;
    float sums[ROWS][COLUMNS] = {};
    for (u32 i = lane; i < length / 8; i += 32) {
        uint4 words[ROWS];
#pragma unroll
        for (u32 r = 0; r < ROWS; r++) {
            words[r] = first + r < rows ? w[u64(first + r) * (length / 8) + i] : uint4{0, 0, 0, 0};
        }
#pragma unroll
        for (u32 c = 0; c < COLUMNS; c++) {
            const float4 *own = x + u64(c) * (length / 4) + 2 * i;
            float4 low = own[0], high = own[1];
#pragma unroll
            for (u32 r = 0; r < ROWS; r++) {
                float sum = sums[r][c];
                sum = fmaf(__uint_as_float(words[r].x << 16), low.x, sum);
                sum = fmaf(__uint_as_float(words[r].x & 0xffff0000), low.y, sum);
                sum = fmaf(__uint_as_float(words[r].y << 16), low.z, sum);
                sum = fmaf(__uint_as_float(words[r].y & 0xffff0000), low.w, sum);
                sum = fmaf(__uint_as_float(words[r].z << 16), high.x, sum);
                sum = fmaf(__uint_as_float(words[r].z & 0xffff0000), high.y, sum);
                sum = fmaf(__uint_as_float(words[r].w << 16), high.z, sum);
                sums[r][c] = fmaf(__uint_as_float(words[r].w & 0xffff0000), high.w, sum);
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

#define MATMUL_FEW(COLUMNS)                                                                                            \
    extern "C" __global__ void __launch_bounds__(WARPS * 32) matmul_few_bf16_##COLUMNS(                                \
        const uint4 *__restrict__ w, const float4 *__restrict__ x, float *__restrict__ y, u32 rows, u32 length) {      \
        matmul_few<COLUMNS>(w, x, y, rows, length);                                                                    \
    }                                                                                                                  \
    KERNEL(matmul_few_bf16_##COLUMNS)

MATMUL_FEW(1)
MATMUL_FEW(2)
MATMUL_FEW(3)
MATMUL_FEW(4)
MATMUL_FEW(5)
MATMUL_FEW(6)
MATMUL_FEW(7)
MATMUL_FEW(8)
