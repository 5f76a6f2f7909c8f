// Y = W X, eight columns of X at a time, for which the time is that of reading W: weights are taken apart in registers to
// halves, and multiplied by tensor cores with sums in singles.
//
// W comes packed (src/cuda/pack.rs) in tiles of 16 rows and 64 columns, in the order in which lanes need it: codes, 16 to 128
// bytes a lane; scales of each row; heads of each row for 256 columns; a power of two of each row. X comes from pack_activations: halves, and a scale for
// each column. Warps of a block, and blocks along z, share the columns of W; a warp has the next tiles on their way while it
// multiplies one. A block adds the sums of its warps in the order of their numbers, and sum_parts those of blocks.
// Reference: decoded weights times the halves of X, in double precision.
// Grid: a block for each 16 rows, by eight columns, by parts. Block: 256 threads.
// Registers: 96 at most.
#include "mma.cuh"
#include "packed.cuh"

constexpr u32 WARPS = 8;
constexpr u32 COLUMNS = 8;

// Add the products of a tile. x: that of X; totals: its sums.
template <class Packed>
__device__ __forceinline__ void add_tile(float (&sums)[4], const Tile<Packed> &tile, const uint4 *x, const float *totals,
                                         u32 lane) {
    const uint4 all[2] = {x[lane], x[32 + lane]};
#pragma unroll
    for (u32 sub = 0; sub < 4 / Packed::SUB; sub++) {
        u32 first = sub * Packed::SUB;
        u32 b[Packed::SUB][2];
#pragma unroll
        for (u32 i = 0; i < Packed::SUB; i++) {
            b[i][0] = word_of(all[(first + i) / 2], (first + i) % 2 * 2);
            b[i][1] = word_of(all[(first + i) / 2], (first + i) % 2 * 2 + 1);
        }
        float2 own = {0, 0};
        if (Packed::SHIFTED) {
            own = *reinterpret_cast<const float2 *>(totals + sub * COLUMNS + lane % 4 * 2);
        }
        Scaled<Packed>(tile, sub).add(sums, b, own);
    }
}

// `y` has `columns` times `rows` numbers for each part.
template <class Packed>
__device__ __forceinline__ void matmul_few(const Matrix &w, const uint4 *x, const float *x_scales, const float *totals,
                                           float *y, u32 rows, u32 columns) {
    // As many as registers have room for.
    constexpr u32 UNDER_WAY = sizeof(Packed) <= 24 ? 3 : 2;
    __shared__ float shared[WARPS][32][4];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    u32 step = gridDim.z * WARPS, t = blockIdx.z * WARPS + warp;
    u32 before = blockIdx.y * COLUMNS;
    x += u64(blockIdx.y) * w.tiles * 64;
    totals += u64(blockIdx.y) * w.tiles * 16;
    const Strip<Packed> strip(w, blockIdx.x, lane);
    Tile<Packed> tiles[UNDER_WAY];
#pragma unroll
    for (u32 i = 0; i < UNDER_WAY; i++) {
        if (t + i * step < w.tiles) {
            tiles[i].load(strip, t + i * step, lane);
        }
    }
    float sums[4] = {0, 0, 0, 0};
    while (t < w.tiles) {
#pragma unroll
        for (u32 i = 0; i < UNDER_WAY; i++) {
            if (t < w.tiles) {
                add_tile(sums, tiles[i], x + u64(t) * 64, totals + u64(t) * 16, lane);
                if (t + UNDER_WAY * step < w.tiles) {
                    tiles[i].load(strip, t + UNDER_WAY * step, lane);
                }
                t += step;
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
            sum = Packed::SCALED ? sum : sum / w.powers[at];
            y[(u64(blockIdx.z) * columns + before + column) * rows + at] = sum * x_scales[before + column];
        }
    }
}

#define MATMUL_FEW(name, Packed)                                                                                       \
    extern "C" __global__ void __launch_bounds__(WARPS * 32)                                                           \
        matmul_few_##name(const uint4 *__restrict__ codes, const u8 *__restrict__ scales, const u8 *__restrict__ heads, \
                          const float *__restrict__ powers, const uint4 *__restrict__ x,                               \
                          const float *__restrict__ x_scales, const float *__restrict__ totals, float *__restrict__ y, \
                          u32 rows, u32 tiles, u32 columns) {                                                          \
        matmul_few<Packed>({codes, scales, heads, powers, tiles}, x, x_scales, totals, y, rows, columns);              \
    }                                                                                                                  \
    KERNEL(matmul_few_##name)

FOR_ALL_PACKED(MATMUL_FEW)

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
