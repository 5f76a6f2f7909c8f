// Y = W X for weights of bf16 or f16 and many columns of X, by tensor cores with sums in singles. X is split into what a short
// float holds of it and what that leaves, so that a product takes two of tensor cores and is as exact as sixteen bits of X and more.
//
// X comes from split_bf16 or split_f16. A warp has 16 rows, a block eight times as many; all of its warps work on the same columns
// of X, of which the next tile is on its way from memory while one is multiplied. Products of bf16 are there from compute
// capability 8.0 on.
// Reference: the products in double precision.
// Grid: a block for each 128 rows, by 64 columns; of split, a block for each column, a multiple of eight. Block: 256 threads.
// Registers: 144 at most.
#include "mma.cuh"

constexpr u32 WARPS = 8;
// Eights of columns.
constexpr u32 EIGHTS = 8;

struct Halves {
    static __device__ u16 bits(float value) { return half_bits(value); }
    static __device__ float value(u16 bits) { return half_value(bits); }
    static __device__ void multiply(float (&sums)[4], const u32 (&a)[4], const u32 (&b)[2]) { MMA_F16(sums, a, b); }
};

#if defined(EMULATOR) || __CUDA_ARCH__ >= 800
struct Bf16s {
    static __device__ u16 bits(float value) { return bf16_bits(value); }
    static __device__ float value(u16 bits) { return bf16_value(bits); }
    static __device__ void multiply(float (&sums)[4], const u32 (&a)[4], const u32 (&b)[2]) { MMA_BF16(sums, a, b); }
};
#endif

// x: `columns` vectors of `length` numbers. tiles: of 64 numbers, the last one filled up with zeros. Of each eight columns and each
// tile come first what short floats hold, then what that leaves, both as pack_activations has them; each vector times a power of
// two, so that its largest magnitude comes to lie between 512 and 1024. scales: what products have to be multiplied by.
template <class Short>
__device__ __forceinline__ void split(const float *x, u16 *parts, float *scales, u32 length, u32 tiles, u32 columns) {
    __shared__ float tops[WARPS * 32];
    u32 column = blockIdx.x;
    const float *own = x + u64(column) * length;
    u32 count = column < columns ? length : 0;
    float power = power_for(own, count, tops);
    if (threadIdx.x == 0) {
        scales[column] = 1.0f / power;
    }
    u16 *eight = parts + u64(column / 8) * tiles * 1024;
    for (u32 i = threadIdx.x; i < tiles * 64; i += WARPS * 32) {
        u32 lane = column % 8 * 4 + i % 16 / 4;
        u64 at = u64(i / 64) * 1024 + lane * 16 + i % 64 / 16 * 4 + i % 4;
        float value = i < count ? own[i] * power : 0.0f;
        u16 first = Short::bits(value);
        float left = value - Short::value(first);
        eight[at] = first;
        // Of what is not finite nothing is left.
        eight[at + 512] = is_finite(left) ? Short::bits(left) : 0;
    }
}

// `length` numbers in a row, a multiple of 8; `y` has `columns` times `rows` numbers.
template <class Short>
__device__ __forceinline__ void matmul_many(const u16 *weights, const uint4 *x, const float *x_scales, float *y, u32 rows,
                                            u32 length, u32 columns) {
    __shared__ uint4 shared[2][EIGHTS][4][32];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, q = lane % 4;
    u32 tiles = (length + 63) / 64, eights = (columns + 7) / 8, first_eight = blockIdx.y * EIGHTS;
    u32 row = (blockIdx.x * WARPS + warp) * 16 + g;
    // A warp fetches one eight of columns for all.
    bool fetches = first_eight + warp < eights;
    const uint4 *own_x = x + u64(first_eight + warp) * tiles * 128;
    float sums[EIGHTS][4] = {};
    uint4 next[4] = {};
    for (u32 t = 0; t <= tiles; t++) {
        if (t > 0) {
#pragma unroll
            for (u32 n = 0; n < 4; n++) {
                shared[(t - 1) % 2][warp][n][lane] = next[n];
            }
        }
        if (t < tiles && fetches) {
#pragma unroll
            for (u32 n = 0; n < 4; n++) {
                next[n] = own_x[t * 128 + n / 2 * 64 + lane * 2 + n % 2];
            }
        }
        // What is read now is written again two tiles later, behind another barrier.
        __syncthreads();
        if (t > 0) {
            u32 at = (t - 1) % 2;
#pragma unroll
            for (u32 w = 0; w < 4; w++) {
                // Four numbers of a row, and of the row eight further down.
                u32 column = (t - 1) * 64 + w * 16 + q * 4;
                bool there = column < length;
                uint2 upper = {0, 0}, lower = {0, 0};
                if (there && row < rows) {
                    upper = *reinterpret_cast<const uint2 *>(weights + u64(row) * length + column);
                }
                if (there && row + 8 < rows) {
                    lower = *reinterpret_cast<const uint2 *>(weights + u64(row + 8) * length + column);
                }
                const u32 a[4] = {upper.x, lower.x, upper.y, lower.y};
#pragma unroll
                for (u32 eight = 0; eight < EIGHTS; eight++) {
#pragma unroll
                    for (u32 part = 0; part < 2; part++) {
                        uint4 four = shared[at][eight][2 * part + w / 2][lane];
                        const u32 b[2] = {w % 2 == 0 ? four.x : four.z, w % 2 == 0 ? four.y : four.w};
                        Short::multiply(sums[eight], a, b);
                    }
                }
            }
        }
    }
#pragma unroll
    for (u32 eight = 0; eight < EIGHTS; eight++) {
#pragma unroll
        for (u32 n = 0; n < 4; n++) {
            u32 own_row = row + 8 * (n / 2), column = (first_eight + eight) * 8 + 2 * q + n % 2;
            if (own_row < rows && column < columns) {
                y[u64(column) * rows + own_row] = sums[eight][n] * x_scales[column];
            }
        }
    }
}

#define MATMUL_MANY(name, Short)                                                                                       \
    extern "C" __global__ void __launch_bounds__(WARPS * 32)                                                           \
        split_##name(const float *__restrict__ x, u16 *__restrict__ parts, float *__restrict__ scales, u32 length,     \
                     u32 tiles, u32 columns) {                                                                         \
        split<Short>(x, parts, scales, length, tiles, columns);                                                        \
    }                                                                                                                  \
    KERNEL(split_##name)                                                                                               \
    extern "C" __global__ void __launch_bounds__(WARPS * 32)                                                           \
        matmul_many_##name(const u16 *__restrict__ weights, const uint4 *__restrict__ x,                               \
                           const float *__restrict__ x_scales, float *__restrict__ y, u32 rows, u32 length,            \
                           u32 columns) {                                                                              \
        matmul_many<Short>(weights, x, x_scales, y, rows, length, columns);                                            \
    }                                                                                                                  \
    KERNEL(matmul_many_##name)

MATMUL_MANY(f16, Halves)
#if defined(EMULATOR) || __CUDA_ARCH__ >= 800
MATMUL_MANY(bf16, Bf16s)
#endif
