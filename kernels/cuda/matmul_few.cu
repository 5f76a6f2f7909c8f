// Y = W X, eight columns of X at a time, for which the time is that of reading W: weights are taken apart in registers to
// halves, and multiplied by tensor cores with sums in singles.
//
// W comes packed (src/cuda/pack.rs) in tiles of 16 rows and 64 columns, in the order in which lanes need it: codes, 16 to 32
// bytes a lane; scales of each row; heads of each row for 256 columns. X comes from pack_activations: halves, and a scale for
// each column. Warps of a block, and blocks along y, share the columns of W; a block adds the sums of its warps in the order of
// their numbers, and sum_parts those of blocks.
// Reference: decoded weights times the halves of X, in double precision.
// Grid: a block for each 16 rows, by parts, by eight columns. Block: 256 threads.
// Registers: 80 at most.
#include "mma.cuh"
#include "packed.cuh"

constexpr u32 WARPS = 8;
// Tiles that a warp has under way.
constexpr u32 AT_ONCE = 2;
constexpr u32 COLUMNS = 8;

// Add the products of a tile. x: the lane's halves of eight columns.
template <class Packed>
__device__ __forceinline__ void add_tile(float (&sums)[4], const Packed &packed, const Rows &rows, const uint4 (&x)[2]) {
    const u32 halves[8] = {x[0].x, x[0].y, x[0].z, x[0].w, x[1].x, x[1].y, x[1].z, x[1].w};
    const u32 ones[4] = {0x3c003c00, 0x3c003c00, 0x3c003c00, 0x3c003c00};
#pragma unroll
    for (u32 sub = 0; sub < 4 / Packed::SUB; sub++) {
        float products[4] = {0, 0, 0, 0}, totals[4] = {0, 0, 0, 0};
#pragma unroll
        for (u32 i = 0; i < Packed::SUB; i++) {
            u32 w = sub * Packed::SUB + i;
            u32 a[4], b[2] = {halves[2 * w], halves[2 * w + 1]};
#pragma unroll
            for (u32 e = 0; e < 4; e++) {
                a[e] = packed.fragment(w, e);
            }
            MMA_F16(products, a, b);
            if (Packed::SHIFTED) {
                MMA_F16(totals, ones, b);
            }
        }
#pragma unroll
        for (u32 r = 0; r < 2; r++) {
            float scale = Packed::scale(rows, r, sub), shift = Packed::shift(rows, r, sub);
#pragma unroll
            for (u32 c = 0; c < 2; c++) {
                sums[2 * r + c] += scale * products[2 * r + c];
                if (Packed::SHIFTED) {
                    sums[2 * r + c] -= shift * totals[2 * r + c];
                }
            }
        }
    }
}

// `tiles` of 64 columns for each 16 rows; `y` has `columns` times `rows` numbers for each part.
template <class Packed>
__device__ __forceinline__ void matmul_few(const uint4 *codes, const u8 *scales, const u8 *heads, const uint4 *x,
                                           const float *x_scales, float *y, u32 rows, u32 tiles, u32 columns) {
    __shared__ float shared[WARPS][32][4];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4;
    u32 step = gridDim.y * WARPS;
    u32 before = blockIdx.z * COLUMNS;
    x += u64(blockIdx.z) * tiles * 64;
    u64 first = u64(blockIdx.x) * tiles, first_super = u64(blockIdx.x) * ((tiles + 3) / 4);
    float sums[4] = {0, 0, 0, 0};
    for (u32 t = blockIdx.y * WARPS + warp; t < tiles; t += step * AT_ONCE) {
        Packed packed[AT_ONCE];
        Rows own[AT_ONCE];
        uint4 halves[AT_ONCE][2];
#pragma unroll
        for (u32 i = 0; i < AT_ONCE; i++) {
            u32 tile = t + i * step;
            if (tile < tiles) {
                packed[i].load(codes, first + tile, lane);
                own[i] = rows_of<Packed>(scales, heads, first + tile, first_super + tile / 4, g);
                halves[i][0] = x[(u64(tile) * 32 + lane) * 2];
                halves[i][1] = x[(u64(tile) * 32 + lane) * 2 + 1];
            }
        }
#pragma unroll
        for (u32 i = 0; i < AT_ONCE; i++) {
            if (t + i * step < tiles) {
                add_tile(sums, packed[i], own[i], halves[i]);
            }
        }
    }
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        shared[warp][lane][i] = sums[i];
    }
    __syncthreads();
    // A thread for each of 16 rows and 8 columns.
    if (threadIdx.x < 16 * COLUMNS) {
        u32 row = threadIdx.x % 16, column = threadIdx.x / 16;
        u32 from = row % 8 * 4 + column / 2, i = row / 8 * 2 + column % 2;
        float sum = 0;
        for (u32 n = 0; n < WARPS; n++) {
            sum += shared[n][from][i];
        }
        u64 at = blockIdx.x * 16 + row;
        if (at < rows && before + column < columns) {
            y[(u64(blockIdx.y) * columns + before + column) * rows + at] = sum * x_scales[before + column];
        }
    }
}

#define MATMUL_FEW(name, Packed)                                                                                       \
    extern "C" __global__ void __launch_bounds__(WARPS * 32)                                                           \
        matmul_few_##name(const uint4 *__restrict__ codes, const u8 *__restrict__ scales, const u8 *__restrict__ heads, \
                          const uint4 *__restrict__ x, const float *__restrict__ x_scales, float *__restrict__ y,      \
                          u32 rows, u32 tiles, u32 columns) {                                                          \
        matmul_few<Packed>(codes, scales, heads, x, x_scales, y, rows, tiles, columns);                                \
    }                                                                                                                  \
    KERNEL(matmul_few_##name)

MATMUL_FEW(q8_0, PackedQ8_0)
MATMUL_FEW(q4_0, PackedQ4_0)
MATMUL_FEW(q4_k, PackedQ4K)
MATMUL_FEW(q6_k, PackedQ6K)
MATMUL_FEW(iq4_xs, PackedIq4Xs)
MATMUL_FEW(mxfp4, PackedMxfp4)

// The sum of the parts, in their order.
extern "C" __global__ void __launch_bounds__(256)
    sum_parts(const float *__restrict__ parts, float *__restrict__ y, u64 count, u32 number) {
    u64 at = u64(blockIdx.x) * 256 + threadIdx.x;
    if (at < count) {
        float sum = 0;
        for (u32 n = 0; n < number; n++) {
            sum += parts[n * count + at];
        }
        y[at] = sum;
    }
}
KERNEL(sum_parts)
