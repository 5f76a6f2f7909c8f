// Y = W X for many columns of X: weights are taken apart in registers to halves once for each 64 columns, and multiplied by
// tensor cores with sums in singles.
//
// W and X are packed as for matmul_few. A warp has 32 rows, a block four times as many; all of its warps work on the same columns
// of X. The next tile of W and X is on its way from memory while one is multiplied. Blocks along z share the columns of W, and
// sum_parts adds what they give.
// Reference: decoded weights times the halves of X, in double precision.
// Grid: a block for each 128 rows, by 64 columns, by parts. Block: 128 threads.
// Registers: 255 at most.
#include "mma.cuh"
#include "packed.cuh"

constexpr u32 WARPS = 4;
// Tiles of 16 rows that a warp has one below the other.
constexpr u32 ABOVE = 2;
// Eights of columns, and those of them that a warp fetches for all.
constexpr u32 EIGHTS = 8, EACH = EIGHTS / WARPS;

// A tile of X and its sums.
struct Columns {
    uint4 halves[EIGHTS][2][32];
    float totals[EIGHTS][16];
};

// Add the products of the values that have one scale with all columns.
template <class Packed>
__device__ __forceinline__ void add_scaled(float (&sums)[ABOVE][EIGHTS][4], const Scaled<Packed> (&scaled)[ABOVE],
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
        float2 totals = {0, 0};
        if (Packed::SHIFTED) {
            totals = *reinterpret_cast<const float2 *>(&x.totals[eight][sub * 8 + lane % 4 * 2]);
        }
#pragma unroll
        for (u32 n = 0; n < ABOVE; n++) {
            scaled[n].add(sums[n][eight], b, totals);
        }
    }
}

// `y` has `columns` times `rows` numbers for each part.
template <class Packed>
__device__ __forceinline__ void matmul_many(const Matrix &w, const uint4 *x, const float *x_scales, const float *totals,
                                            float *y, u32 rows, u32 columns) {
    __shared__ Columns shared[2];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    u32 row_tile = (blockIdx.x * WARPS + warp) * ABOVE, first_eight = blockIdx.y * EIGHTS, eights = (columns + 7) / 8;
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
        Columns &to = shared[(t - first) % 2];
        // One after the other: before sm_80 they come by registers, of which there are none to spare.
#pragma unroll 1
        for (u32 n = 0; n < EACH; n++) {
            u32 own = warp * EACH + n;
            if (first_eight + own < eights) {
                u64 tile = u64(first_eight + own) * w.tiles + t;
                copy_16(&to.halves[own][0][lane], x + tile * 64 + lane);
                copy_16(&to.halves[own][1][lane], x + tile * 64 + 32 + lane);
                if (Packed::SHIFTED && lane < 4) {
                    copy_16(&to.totals[own][lane * 4], totals + tile * 16 + lane * 4);
                }
            }
        }
    };
    float sums[ABOVE][EIGHTS][4] = {};
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
            const Scaled<Packed> scaled[ABOVE] = {{tiles[0], sub}, {tiles[1], sub}};
            // The codes are in other registers now: the next ones can come.
            if (sub == 4 / Packed::SUB - 1 && t + 1 < end) {
                fetch(t + 1);
            }
            add_scaled(sums, scaled, shared[(t - first) % 2], sub, lane);
        }
    }
    y += u64(blockIdx.z) * columns * rows;
#pragma unroll
    for (u32 i = 0; i < EIGHTS * 2; i++) {
        u32 column = (first_eight + i / 2) * 8 + lane % 4 * 2 + i % 2;
        if (column < columns) {
#pragma unroll
            for (u32 n = 0; n < ABOVE * 2; n++) {
                u32 row = row_tile * 16 + lane / 4 + n * 8;
                if (row < rows) {
                    float scale = Packed::row_scale(w.heads, row, w.tiles) * x_scales[column];
                    y[u64(column) * rows + row] = sums[n / 2][i / 2][n % 2 * 2 + i % 2] * scale;
                }
            }
        }
    }
}

#define MATMUL_MANY(name, Packed)                                                                                      \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, 2)                                                        \
        matmul_many_##name(const uint4 *__restrict__ codes, const u8 *__restrict__ scales, const u8 *__restrict__ heads, \
                           const uint4 *__restrict__ x, const float *__restrict__ x_scales,                            \
                           const float *__restrict__ totals, float *__restrict__ y, u32 rows, u32 tiles, u32 columns) { \
        matmul_many<Packed>({codes, scales, heads, tiles}, x, x_scales, totals, y, rows, columns);                     \
    }                                                                                                                  \
    KERNEL(matmul_many_##name)

FOR_ALL_PACKED(MATMUL_MANY)
