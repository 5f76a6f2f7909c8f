// Y = W X for many columns of X: weights are decoded in registers to halves once for each 128 columns, and multiplied by tensor
// cores with sums in singles.
//
// W and X are packed as for matmul_few. A warp has 32 rows, a block four times as many; all of its warps work on the same columns
// of X. The next tile of W and X is on its way from memory while one is multiplied. Blocks along z share the columns of W, and
// sum_parts adds what they give.
// Reference: decoded weights, rounded to halves, times the halves of X, in double precision.
// Grid: a block for each 128 rows, by 128 columns (64 for values of two halves), by parts. Block: 128 threads.
// Registers: 255 at most.
#include "mma.cuh"
#include "packed.cuh"

constexpr u32 WARPS = 4;
// Tiles of 16 rows that a warp has one below the other.
constexpr u32 ABOVE = 2;
// Eights of columns that are multiplied together.
constexpr u32 EIGHTS = 8;

// Of X, a tile of those.
struct Columns {
    uint4 halves[EIGHTS][2][32];
};

// Add the products of the values that have one scale with all columns.
template <class Packed>
__device__ __forceinline__ void add_products(float (&sums)[ABOVE][EIGHTS][4], const Whole<Packed> (&whole)[ABOVE],
                                           const Columns &x, u32 sub, u32 lane) {
#pragma unroll
    for (u32 eight = 0; eight < EIGHTS; eight++) {
        u32 b[Packed::SUB][2];
#pragma unroll
        for (u32 i = 0; i < Packed::SUB; i++) {
            u32 w = sub * Packed::SUB + i;
            const uint4 &two = x.halves[eight][w / 2][lane];
            b[i][0] = w % 2 == 0 ? two.x : two.z;
            b[i][1] = w % 2 == 0 ? two.y : two.w;
        }
#pragma unroll
        for (u32 n = 0; n < ABOVE; n++) {
            whole[n].add(sums[n][eight], b);
        }
    }
}

// `y` has `columns` times `rows` numbers for each part.
template <class Packed>
__device__ __forceinline__ void matmul_many(const Matrix &w, const uint4 *x, const float *x_scales, float *y,
                                            u32 rows, u32 columns) {
    // As many times EIGHTS as registers have room for.
    constexpr u32 TIMES = Packed::PLANES == 1 ? 2 : 1;
    __shared__ Columns shared[2][TIMES];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    u32 row_tile = (blockIdx.x * WARPS + warp) * ABOVE, first_eight = blockIdx.y * EIGHTS * TIMES, eights = (columns + 7) / 8;
    u32 share = (w.tiles + gridDim.z - 1) / gridDim.z, first = blockIdx.z * share;
    u32 end = first + share < w.tiles ? first + share : w.tiles;
    const Strip<Packed> strips[ABOVE] = {{w, row_tile, lane}, {w, row_tile + 1, lane}};
    Tile<Packed> tiles[ABOVE] = {};
    auto fetch = [&](u32 t) {
#pragma unroll
        for (u32 n = 0; n < ABOVE; n++) {
            if ((row_tile + n) * 16 < rows) {
                tiles[n].load(strips[n], t, lane);
            }
        }
    };
    auto copy = [&](u32 t) {
        // One after the other: before sm_80 they come by registers, of which there are none to spare.
#pragma unroll 1
        for (u32 own = warp; own < EIGHTS * TIMES && first_eight + own < eights; own += WARPS) {
            const uint4 *from = x + (u64(first_eight + own) * w.tiles + t) * 64;
            uint4(&to)[2][32] = shared[(t - first) % 2][own / EIGHTS].halves[own % EIGHTS];
            copy_16(&to[0][lane], from + lane);
            copy_16(&to[1][lane], from + 32 + lane);
        }
    };
    float powers[ABOVE][2] = {}, sums[TIMES][ABOVE][EIGHTS][4] = {};
#pragma unroll
    for (u32 n = 0; n < ABOVE * 2; n++) {
        u32 row = row_tile * 16 + lane / 4 + n * 8;
        powers[n / 2][n % 2] = row < rows ? w.powers[row] : 1;
    }
    if (first < end) {
        copy(first);
        fetch(first);
    }
    for (u32 t = first; t < end; t++) {
        // This tile is there, and the one before has been multiplied by all.
        all_copied();
        __syncthreads();
        if (t + 1 < end) {
            copy(t + 1);
        }
#pragma unroll
        for (u32 sub = 0; sub < 4 / Packed::SUB; sub++) {
            const Whole<Packed> whole[ABOVE] = {{tiles[0], sub, powers[0]}, {tiles[1], sub, powers[1]}};
            // The codes are in other registers now: the next ones can come.
            if (sub == 4 / Packed::SUB - 1 && t + 1 < end) {
                fetch(t + 1);
            }
#pragma unroll
            for (u32 i = 0; i < TIMES; i++) {
                if (i == 0 || first_eight + i * EIGHTS < eights) {
                    add_products(sums[i], whole, shared[(t - first) % 2][i], sub, lane);
                }
            }
        }
    }
    y += u64(blockIdx.z) * columns * rows;
#pragma unroll
    for (u32 i = 0; i < TIMES * EIGHTS * 2; i++) {
        u32 column = (first_eight + i / 2) * 8 + lane % 4 * 2 + i % 2;
        if (column < columns) {
#pragma unroll
            for (u32 n = 0; n < ABOVE * 2; n++) {
                u32 row = row_tile * 16 + lane / 4 + n * 8;
                if (row < rows) {
                    float sum = sums[i / (EIGHTS * 2)][n / 2][i / 2 % EIGHTS][n % 2 * 2 + i % 2] / powers[n / 2][n % 2];
                    y[u64(column) * rows + row] = sum * x_scales[column];
                }
            }
        }
    }
}

#define MATMUL_MANY(name, Packed)                                                                                      \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, 2)                                                        \
        matmul_many_##name(const uint4 *__restrict__ codes, const u8 *__restrict__ scales, const u8 *__restrict__ heads, \
                           const float *__restrict__ powers, const uint4 *__restrict__ x,                              \
                           const float *__restrict__ x_scales, const float *__restrict__, float *__restrict__ y,       \
                           u32 rows, u32 tiles, u32 columns) {                                                         \
        matmul_many<Packed>({codes, scales, heads, powers, tiles}, x, x_scales, y, rows, columns);                     \
    }                                                                                                                  \
    KERNEL(matmul_many_##name)

FOR_ALL_PACKED(MATMUL_MANY)
