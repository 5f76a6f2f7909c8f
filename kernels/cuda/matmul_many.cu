// Y = W X for many columns of X: weights are taken apart in registers to halves once for each 64 columns, and multiplied by
// tensor cores with sums in singles.
//
// W and X are packed as for matmul_few. A warp has 16 rows, a block eight times as many; all of its warps work on the same columns
// of X, of which the next tile is on its way from memory while one is multiplied.
// Reference: decoded weights times the halves of X, in double precision.
// Grid: a block for each 128 rows, by 64 columns. Block: 256 threads.
// Registers: 128 at most.
#include "mma.cuh"
#include "packed.cuh"

constexpr u32 WARPS = 8;
// Eights of columns.
constexpr u32 EIGHTS = 8;

// Add the products of the values of a tile that have one scale with all columns.
template <class Packed>
__device__ __forceinline__ void multiply(float (&sums)[EIGHTS][4], const Packed &packed, const Rows &rows, u32 sub,
                                         const uint4 (&x)[EIGHTS][2][32], const float (&totals)[EIGHTS][2][8], u32 lane) {
    u32 halves[Packed::SUB][4];
#pragma unroll
    for (u32 i = 0; i < Packed::SUB; i++) {
#pragma unroll
        for (u32 e = 0; e < 4; e++) {
            halves[i][e] = packed.fragment(sub * Packed::SUB + i, e);
        }
    }
    const float scales[2] = {Packed::scale(rows, 0, sub), Packed::scale(rows, 1, sub)};
    const float shifts[2] = {Packed::shift(rows, 0, sub), Packed::shift(rows, 1, sub)};
#pragma unroll
    for (u32 eight = 0; eight < EIGHTS; eight++) {
        float products[4] = {0, 0, 0, 0};
        if constexpr (Packed::SUB == 2) {
            uint4 four = x[eight][sub][lane];
            const u32 b[2][2] = {{four.x, four.y}, {four.z, four.w}};
            MMA_F16(products, halves[0], b[0]);
            MMA_F16(products, halves[1], b[1]);
        } else {
            uint4 four = x[eight][sub / 2][lane];
            const u32 b[2] = {sub % 2 == 0 ? four.x : four.z, sub % 2 == 0 ? four.y : four.w};
            MMA_F16(products, halves[0], b);
        }
#pragma unroll
        for (u32 n = 0; n < 4; n++) {
            sums[eight][n] += scales[n / 2] * products[n];
            if (Packed::SHIFTED) {
                sums[eight][n] -= shifts[n / 2] * totals[eight][sub][lane % 4 * 2 + n % 2];
            }
        }
    }
}

// `tiles` of 64 columns for each 16 rows; `y` has `columns` times `rows` numbers.
template <class Packed>
__device__ __forceinline__ void matmul_many(const uint4 *codes, const u8 *scales, const u8 *heads, const uint4 *x,
                                            const float *x_scales, const float *totals, float *y, u32 rows, u32 tiles,
                                            u32 columns) {
    __shared__ uint4 shared[2][EIGHTS][2][32];
    __shared__ float shared_totals[2][EIGHTS][2][8];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, q = lane % 4;
    u32 row_tile = blockIdx.x * WARPS + warp, eights = (columns + 7) / 8, first_eight = blockIdx.y * EIGHTS;
    bool works = row_tile * 16 < rows;
    u64 first = u64(row_tile) * tiles, first_super = u64(row_tile) * ((tiles + 3) / 4);
    // A warp fetches one eight of columns for all.
    u32 own_eight = first_eight + warp;
    bool fetches = own_eight < eights;
    const uint4 *own_x = x + u64(own_eight) * tiles * 64;
    const float *own_totals = totals + u64(own_eight) * tiles * 16;
    uint4 next[2] = {};
    float next_total = 0;
    float sums[EIGHTS][4] = {};
    for (u32 t = 0; t <= tiles; t++) {
        if (t > 0) {
            u32 at = (t - 1) % 2;
            shared[at][warp][0][lane] = next[0];
            shared[at][warp][1][lane] = next[1];
            if (lane < 16) {
                shared_totals[at][warp][lane / 8][lane % 8] = next_total;
            }
        }
        if (t < tiles && fetches) {
            next[0] = own_x[t * 64 + lane * 2];
            next[1] = own_x[t * 64 + lane * 2 + 1];
            if (lane < 16) {
                next_total = own_totals[t * 16 + lane];
            }
        }
        // What is read now is written again two tiles later, behind another barrier.
        __syncthreads();
        if (t > 0 && works) {
            u32 at = (t - 1) % 2;
            Packed packed;
            packed.load(codes, first + t - 1, lane);
            Rows rows_here = rows_of<Packed>(scales, heads, first + t - 1, first_super + (t - 1) / 4, g);
#pragma unroll
            for (u32 sub = 0; sub < 4 / Packed::SUB; sub++) {
                multiply(sums, packed, rows_here, sub, shared[at], shared_totals[at], lane);
            }
        }
    }
#pragma unroll
    for (u32 eight = 0; eight < EIGHTS; eight++) {
#pragma unroll
        for (u32 n = 0; n < 4; n++) {
            u32 row = row_tile * 16 + g + 8 * (n / 2), column = (first_eight + eight) * 8 + 2 * q + n % 2;
            if (row < rows && column < columns) {
                y[u64(column) * rows + row] = sums[eight][n] * x_scales[column];
            }
        }
    }
}

// Where two blocks of a multiprocessor need registers to be kept short, compilers have to be told so; where they are short
// anyhow, that makes them spill.
#define TWO_BLOCKS __launch_bounds__(WARPS * 32, 2)
#define ANY_BLOCKS __launch_bounds__(WARPS * 32)
#define MATMUL_MANY(name, Packed, LAUNCH_BOUNDS)                                                                       \
    extern "C" __global__ void LAUNCH_BOUNDS                                                                           \
        matmul_many_##name(const uint4 *__restrict__ codes, const u8 *__restrict__ scales, const u8 *__restrict__ heads, \
                           const uint4 *__restrict__ x, const float *__restrict__ x_scales,                            \
                           const float *__restrict__ totals, float *__restrict__ y, u32 rows, u32 tiles, u32 columns) { \
        matmul_many<Packed>(codes, scales, heads, x, x_scales, totals, y, rows, tiles, columns);                       \
    }                                                                                                                  \
    KERNEL(matmul_many_##name)

MATMUL_MANY(q8_0, PackedQ8_0, TWO_BLOCKS)
MATMUL_MANY(q4_0, PackedQ4_0, TWO_BLOCKS)
MATMUL_MANY(q4_k, PackedQ4K, TWO_BLOCKS)
MATMUL_MANY(q6_k, PackedQ6K, ANY_BLOCKS)
MATMUL_MANY(iq4_xs, PackedIq4Xs, TWO_BLOCKS)
MATMUL_MANY(mxfp4, PackedMxfp4, TWO_BLOCKS)
