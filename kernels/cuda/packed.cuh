// Weights as src/cuda/pack.rs packs them: tiles of 16 rows and 64 columns, taken apart in a lane's registers to halves, which tensor
// cores multiply by those of X. A tile is four products of 16 columns; values of SUB of them have one scale.
#pragma once
#include "mma.cuh"

// What a lane has of the scales of its two rows: g and g + 8.
struct Rows {
    u32 scales[2], heads[2];
};

// What is read once and has no use for the place that it would take in a multiprocessor's cache.
__device__ __forceinline__ uint4 streamed(const uint4 *at) {
#ifdef EMULATOR
    return *at;
#else
    uint4 words;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
        : "l"(at));
    return words;
#endif
}

__device__ __forceinline__ u32 word_of(const uint4 &words, u32 n) {
    return n == 0 ? words.x : n == 1 ? words.y : n == 2 ? words.z : words.w;
}

// Values that are one half each, and have scales.
struct Integers {
    static const u32 PLANES = 1;
    static const bool SCALED = true;
};

// Codes of four bits: nibble e and 4 + e of word w belong to a[e] of the w-th product.
struct Nibbles : Integers {
    static const u32 SIXTEENS = 32;
    uint4 words;
    __device__ void load(const uint4 *tile, u32 lane) { words = streamed(tile + lane); }
    // The two with 1024 added, those of odd e times 16; without shifts where they can be spared.
    __device__ u32 sums(u32 w, u32 e) const {
        u32 word = word_of(words, w) >> (e / 2 * 8);
        return and_or(word, e % 2 == 0 ? 0x000f000f : 0x00f000f0, THOUSANDS);
    }
    __device__ u32 fragment_less(u32 w, u32 e, u32 zero) const {
        return e % 2 == 0 ? less(sums(w, e), zero) : sixteenth_less(sums(w, e), zero);
    }
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
    __device__ u32 fragment(u32 w, u32 e) const { return fragment_less(w, e, 8); }
};

struct PackedQ8_0 : Integers, Halves32 {
    // Bytes 2 (e % 2) and 2 (e % 2) + 1 of word 2 (w % 2) + e / 2 of half w / 2 belong to a[e] of the w-th product.
    static const u32 SIXTEENS = 64;
    uint4 halves[2];
    __device__ void load(const uint4 *tile, u32 lane) {
        halves[0] = streamed(tile + lane);
        halves[1] = streamed(tile + 32 + lane);
    }
    __device__ u32 fragment(u32 w, u32 e) const {
        u32 word = word_of(halves[w / 2], w % 2 * 2 + e / 2);
        return less(__byte_perm(word, THOUSANDS, e % 2 == 0 ? 0x5150 : 0x5352), 128);
    }
};

struct PackedMxfp4 : Nibbles, Unshifted {
    static const u32 SUB = 2;
    static const u32 SCALE_BYTES = 2, HEAD_BYTES = 0;
    // The bits of a half are those of E2M1, an exponent of 14 further down; twice that number. In a half-word stand the sign of
    // e = 0 to 3 at bits 15, 12, 14 and 13, and what follows it from bits 9, 6, 3 and 0 on.
    __device__ u32 fragment(u32 w, u32 e) const {
        u32 word = word_of(words, w);
        u32 codes = e < 2 ? word << (3 * e) & 0x8e008e00
                          : and_or(word << (e - 1), 0x80008000, word << (3 * e) & 0x0e000e00);
        return times_halves(codes, 0x78007800);
    }
    static __device__ float scale(const Rows &rows, u32 r, u32 sub) {
        u32 e = rows.scales[r] >> (8 * sub) & 255;
        return __uint_as_float(e < 2 ? 0x00200000u << e : (e - 1) << 23);
    }
};

struct PackedIq4Xs : Nibbles, SignedBytes {
    static const u32 SUB = 2;
    static const u32 SCALE_BYTES = 2;
    // Nibbles 2 e and 2 e + 1 of word w belong to a[e]. Their numbers, 128 more than they are: eight of the table's sixteen at a
    // time, and of both the one that the upper bit says.
    __device__ u32 fragment(u32 w, u32 e) const {
        u32 word = word_of(words, w), half = e / 2 * 16;
        u32 at = (word & 0x77777777) >> half, which = and_or(word >> 1, 0x44444444, 0x32103210) >> half;
        u32 low = __byte_perm(0x3f2d1801, 0x766a5d4f, at), high = __byte_perm(0xa6998d81, 0xf1d9c5b5, at);
        return less(__byte_perm(__byte_perm(low, high, which), THOUSANDS, e % 2 == 0 ? 0x5150 : 0x5352), 128);
    }
};

struct PackedQ4K : Nibbles {
    static const u32 SUB = 2;
    static const bool SHIFTED = true;
    static const u32 SCALE_BYTES = 4, HEAD_BYTES = 4;
    __device__ u32 fragment(u32 w, u32 e) const { return fragment_less(w, e, 0); }
    static __device__ float scale(const Rows &rows, u32 r, u32 sub) {
        return half_value(u16(rows.heads[r])) * float(rows.scales[r] >> (16 * sub) & 255);
    }
    static __device__ float shift(const Rows &rows, u32 r, u32 sub) {
        return half_value(u16(rows.heads[r] >> 16)) * float(rows.scales[r] >> (16 * sub + 8) & 255);
    }
};

struct PackedQ6K : Nibbles, SignedBytes {
    static const u32 SUB = 1;
    static const u32 SIXTEENS = 48;
    static const u32 SCALE_BYTES = 4;
    // Low halves as in Nibbles. Of their upper pairs of bits, word w / 2 has those of the w-th product: pairs n = w % 2 * 4 + e and
    // 8 + n belong to a[e].
    uint2 upper;
    __device__ void load(const uint4 *tile, u32 lane) {
        Nibbles::load(tile, lane);
        upper = reinterpret_cast<const uint2 *>(tile + 32)[lane];
    }
    __device__ u32 fragment(u32 w, u32 e) const {
        u32 pairs = w < 2 ? upper.x : upper.y, at = (w % 2 * 4 + e) * 2, to = e % 2 == 0 ? 4 : 8;
        u32 moved = at > to ? pairs >> (at - to) : pairs << (to - at);
        u32 sum = and_or(moved, 0x00030003 << to, sums(w, e));
        return e % 2 == 0 ? less(sum, 32) : sixteenth_less(sum, 32);
    }
};

// Floats: halves of them times the power of their row. Those of more bits are the sum of two halves.
template <u32 COUNT> struct Floats {
    static const u32 SUB = 2, PLANES = COUNT, SIXTEENS = 128 * COUNT;
    static const bool SCALED = false, SHIFTED = false;
    static const u32 SCALE_BYTES = 0, HEAD_BYTES = 0;
    uint4 words[4 * COUNT];
    __device__ void load(const uint4 *tile, u32 lane) {
#pragma unroll
        for (u32 n = 0; n < 4 * COUNT; n++) {
            words[n] = streamed(tile + n * 32 + lane);
        }
    }
    __device__ u32 fragment(u32 w, u32 e) const { return word_of(words[w], e); }
    static __device__ float scale(const Rows &, u32, u32) { return 1; }
    static __device__ float shift(const Rows &, u32, u32) { return 0; }
};

// SIZE bytes, which stand at a multiple of that.
template <u32 SIZE> __device__ __forceinline__ u32 stored(const u8 *at) {
    if constexpr (SIZE == 4) {
        return *reinterpret_cast<const u32 *>(at);
    } else if constexpr (SIZE == 2) {
        return *reinterpret_cast<const u16 *>(at);
    } else {
        return 0;
    }
}

// From memory to what a block shares, while threads go on; what is there once all_copied has been waited for.
__device__ __forceinline__ void copy_16(void *to, const void *from) {
#if !defined(EMULATOR) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(u32(__cvta_generic_to_shared(to))), "l"(from) : "memory");
#else
    *static_cast<uint4 *>(to) = *static_cast<const uint4 *>(from);
#endif
}
__device__ __forceinline__ void all_copied() {
#if !defined(EMULATOR) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// A matrix: `tiles` of 64 columns for each 16 rows. powers: of two for each row, which bring its values into the range of halves.
struct Matrix {
    const uint4 *codes;
    const u8 *scales, *heads;
    const float *powers;
    u32 tiles;
};

// 16 rows of it, scales and heads from those of the lane on. SIXTEENS: sixteen bytes of codes in a tile.
template <class Packed> struct Strip {
    const uint4 *codes;
    const u8 *scales, *heads;
    __device__ Strip(const Matrix &w, u32 row_tile, u32 lane)
        : codes(w.codes + u64(row_tile) * w.tiles * Packed::SIXTEENS),
          scales(w.scales + (u64(row_tile) * w.tiles * 16 + lane / 4) * Packed::SCALE_BYTES),
          heads(w.heads + (u64(row_tile) * ((w.tiles + 3) / 4) * 16 + lane / 4) * Packed::HEAD_BYTES) {}
};

// What a lane has of a tile.
template <class Packed> struct Tile {
    Packed packed;
    Rows rows;
    __device__ void load(const Strip<Packed> &strip, u32 tile, u32 lane) {
        packed.load(strip.codes + tile * Packed::SIXTEENS, lane);
#pragma unroll
        for (u32 r = 0; r < 2; r++) {
            rows.scales[r] = stored<Packed::SCALE_BYTES>(strip.scales + (tile * 16 + 8 * r) * Packed::SCALE_BYTES);
            rows.heads[r] = stored<Packed::HEAD_BYTES>(strip.heads + (tile / 4 * 16 + 8 * r) * Packed::HEAD_BYTES);
        }
    }
};

// Those of its values that have one scale, as halves without it.
template <class Packed> struct Unscaled {
    u32 halves[Packed::SUB][Packed::PLANES][4];
    __device__ Unscaled(const Packed &packed, u32 sub) {
#pragma unroll
        for (u32 i = 0; i < Packed::SUB * Packed::PLANES; i++) {
#pragma unroll
            for (u32 e = 0; e < 4; e++) {
                halves[i / Packed::PLANES][i % Packed::PLANES][e] =
                    packed.fragment(sub * Packed::SUB * Packed::PLANES + i, e);
            }
        }
    }

    // Add the products with eight columns. b: the lane's halves of them.
    __device__ void add(float (&sums)[4], const u32 (&b)[Packed::SUB][2]) const {
#pragma unroll
        for (u32 i = 0; i < Packed::SUB; i++) {
#pragma unroll
            for (u32 plane = 0; plane < Packed::PLANES; plane++) {
                MMA_F16(sums, halves[i][plane], b[i]);
            }
        }
    }
};

// The same with scales for products: for few columns, with nothing rounded.
template <class Packed> struct Scaled : Unscaled<Packed> {
    float scales[2], shifts[2];
    __device__ Scaled(const Tile<Packed> &tile, u32 sub) : Unscaled<Packed>(tile.packed, sub) {
#pragma unroll
        for (u32 r = 0; r < 2; r++) {
            scales[r] = Packed::scale(tile.rows, r, sub);
            shifts[r] = Packed::shift(tile.rows, r, sub);
        }
    }

    // totals: the sums of b, where there are shifts.
    __device__ void add(float (&sums)[4], const u32 (&b)[Packed::SUB][2], float2 totals) const {
        if constexpr (Packed::SCALED) {
            float products[4] = {0, 0, 0, 0};
            Unscaled<Packed>::add(products, b);
#pragma unroll
            for (u32 n = 0; n < 4; n++) {
                sums[n] = fmaf(scales[n / 2], products[n], sums[n]);
                if constexpr (Packed::SHIFTED) {
                    sums[n] = fmaf(-shifts[n / 2], n % 2 == 0 ? totals.x : totals.y, sums[n]);
                }
            }
        } else {
            Unscaled<Packed>::add(sums, b);
        }
    }
};

// Values of weights times the powers of their rows, rounded to halves: for many columns, whose sums need nothing else then.
template <class Packed> struct Whole : Unscaled<Packed> {
    __device__ Whole(const Tile<Packed> &tile, u32 sub, const float (&powers)[2]) : Unscaled<Packed>(tile.packed, sub) {
        if constexpr (Packed::SCALED) {
            u32 scales[2], shifts[2];
#pragma unroll
            for (u32 r = 0; r < 2; r++) {
                scales[r] = twice(Packed::scale(tile.rows, r, sub) * powers[r]);
                shifts[r] = twice(-Packed::shift(tile.rows, r, sub) * powers[r]);
            }
#pragma unroll
            for (u32 i = 0; i < Packed::SUB * 4; i++) {
                u32 &half = this->halves[i / 4][0][i % 4];
                half = Packed::SHIFTED ? fma_halves(half, scales[i % 2], shifts[i % 2]) : times_halves(half, scales[i % 2]);
            }
        }
    }
    static __device__ u32 twice(float value) { return u32(half_bits(value)) * 0x10001; }
};

// Every format that is multiplied; bf16 is packed as f16.
#define FOR_ALL_PACKED(MACRO)                                                                                          \
    MACRO(q8_0, PackedQ8_0)                                                                                            \
    MACRO(q4_0, PackedQ4_0)                                                                                            \
    MACRO(q4_k, PackedQ4K)                                                                                             \
    MACRO(q6_k, PackedQ6K)                                                                                             \
    MACRO(iq4_xs, PackedIq4Xs)                                                                                         \
    MACRO(mxfp4, PackedMxfp4)                                                                                          \
    MACRO(f16, Floats<1>)                                                                                              \
    MACRO(f32, Floats<2>)
