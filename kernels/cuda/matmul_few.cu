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

constexpr u32 WARPS = 8;
// Tiles that a warp has under way.
constexpr u32 AT_ONCE = 2;
constexpr u32 COLUMNS = 8;

// What a lane has of the scales of its two rows: g and g + 8.
struct Rows {
    u32 scales[2], heads[2];
};

// Codes of four bits: nibble e and 4 + e of word w belong to a[e] of the w-th product.
struct Nibbles {
    uint4 words;
    __device__ void load(const uint4 *codes, u64 tile, u32 lane) { words = codes[tile * 32 + lane]; }
    __device__ u32 word(u32 w) const { return w == 0 ? words.x : w == 1 ? words.y : w == 2 ? words.z : words.w; }
    __device__ u32 pair(u32 w, u32 e) const { return word(w) >> (4 * e) & 0x000f000f; }
};

// No minimums.
struct Unshifted {
    static const bool SHIFTED = false;
    static __device__ float shift(const Rows &, u32, u32) { return 0; }
};

// A row's scale in half precision for each 32 values.
struct Halves32 : Unshifted {
    static const u32 SUB = 2;
    static const u32 SCALE_BYTES = 4, HEAD_BYTES = 0;
    static __device__ float scale(const Rows &rows, u32 r, u32 sub) { return half_value(u16(rows.scales[r] >> (16 * sub))); }
};

// A row's head in half precision, and signed bytes that it multiplies.
struct SignedBytes : Unshifted {
    static const u32 HEAD_BYTES = 2;
    static __device__ float scale(const Rows &rows, u32 r, u32 sub) {
        return half_value(u16(rows.heads[r])) * float(i8(rows.scales[r] >> (8 * sub)));
    }
};

struct PackedQ4_0 : Nibbles, Halves32 {
    __device__ u32 fragment(u32 w, u32 e) const { return integers_as_halves(pair(w, e), 8); }
};

struct PackedQ8_0 : Halves32 {
    // Bytes 2 (e % 2) and 2 (e % 2) + 1 of word 2 (w % 2) + e / 2 of half w / 2 belong to a[e] of the w-th product.
    uint4 halves[2];
    __device__ void load(const uint4 *from, u64 tile, u32 lane) {
        halves[0] = from[tile * 64 + lane];
        halves[1] = from[tile * 64 + 32 + lane];
    }
    __device__ u32 fragment(u32 w, u32 e) const {
        const uint4 &half = halves[w / 2];
        u32 word = w % 2 == 0 ? (e < 2 ? half.x : half.y) : (e < 2 ? half.z : half.w);
        return integers_as_halves(__byte_perm(word, 0, e % 2 == 0 ? 0x4140 : 0x4342), 128);
    }
};

struct PackedMxfp4 : Nibbles, Unshifted {
    static const u32 SUB = 2;
    static const u32 SCALE_BYTES = 2, HEAD_BYTES = 0;
    // The bits of a half are those of E2M1, an exponent of 14 further down; twice that number.
    __device__ u32 fragment(u32 w, u32 e) const {
        u32 codes = pair(w, e);
        return times_halves((codes & 0x00080008) << 12 | (codes & 0x00070007) << 9, 0x78007800);
    }
    static __device__ float scale(const Rows &rows, u32 r, u32 sub) {
        u32 e = rows.scales[r] >> (8 * sub) & 255;
        return __uint_as_float(e < 2 ? 0x00200000u << e : (e - 1) << 23);
    }
};

struct PackedIq4Xs : Nibbles, SignedBytes {
    static const u32 SUB = 2;
    static const u32 SCALE_BYTES = 2;
    // The numbers of four nibbles, 128 more than they are: eight of the table's sixteen at a time, and of both the one that
    // the upper bit says.
    static __device__ u32 numbers(u32 nibbles) {
        u32 at = nibbles & 0x7777;
        u32 low = __byte_perm(0x3f2d1801, 0x766a5d4f, at), high = __byte_perm(0xa6998d81, 0xf1d9c5b5, at);
        return __byte_perm(low, high, 0x3210 | (nibbles & 0x8888) >> 1);
    }
    __device__ u32 fragment(u32 w, u32 e) const {
        u32 codes = word(w);
        u32 both = __byte_perm(numbers(codes & 0xffff), numbers(codes >> 16), e | (4 + e) << 8);
        return integers_as_halves(both & 0x00ff00ff, 128);
    }
};

struct PackedQ4K : Nibbles {
    static const u32 SUB = 2;
    static const bool SHIFTED = true;
    static const u32 SCALE_BYTES = 4, HEAD_BYTES = 4;
    __device__ u32 fragment(u32 w, u32 e) const { return integers_as_halves(pair(w, e), 0); }
    static __device__ float scale(const Rows &rows, u32 r, u32 sub) {
        return half_value(u16(rows.heads[r])) * float(rows.scales[r] >> (16 * sub) & 255);
    }
    static __device__ float shift(const Rows &rows, u32 r, u32 sub) {
        return half_value(u16(rows.heads[r] >> 16)) * float(rows.scales[r] >> (16 * sub + 8) & 255);
    }
};

struct PackedQ6K : Nibbles, SignedBytes {
    static const u32 SUB = 1;
    static const u32 SCALE_BYTES = 4;
    // Low halves as in Nibbles; of the upper pairs of bits, half-word w has those of the w-th product: pairs e and 4 + e.
    uint2 upper;
    __device__ void load(const uint4 *from, u64 tile, u32 lane) {
        const uint4 *own = from + tile * 48;
        Nibbles::load(own, 0, lane);
        upper = reinterpret_cast<const uint2 *>(own + 32)[lane];
    }
    __device__ u32 fragment(u32 w, u32 e) const {
        u32 half = (w < 2 ? upper.x : upper.y) >> (16 * (w % 2)) & 0xffff;
        u32 spread = (half & 0xff) | (half & 0xff00) << 8;
        return integers_as_halves(pair(w, e) | (spread >> (2 * e) & 0x00030003) << 4, 32);
    }
};

// SIZE bytes, which stand at a multiple of that.
template <u32 SIZE> __device__ __forceinline__ u32 word_of(const u8 *at) {
    if constexpr (SIZE == 4) {
        return *reinterpret_cast<const u32 *>(at);
    } else if constexpr (SIZE == 2) {
        return *reinterpret_cast<const u16 *>(at);
    } else {
        return 0;
    }
}

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

// The scales and heads of a lane's rows.
template <class Packed> __device__ __forceinline__ Rows rows_of(const u8 *scales, const u8 *heads, u64 tile, u64 super, u32 g) {
    Rows rows;
#pragma unroll
    for (u32 r = 0; r < 2; r++) {
        rows.scales[r] = word_of<Packed::SCALE_BYTES>(scales + (tile * 16 + g + 8 * r) * Packed::SCALE_BYTES);
        rows.heads[r] = word_of<Packed::HEAD_BYTES>(heads + (super * 16 + g + 8 * r) * Packed::HEAD_BYTES);
    }
    return rows;
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
