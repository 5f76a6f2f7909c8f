// Weights as src/cuda/pack.rs packs them: tiles of 16 rows and 64 columns, taken apart in a lane's registers.
#pragma once
#include "mma.cuh"

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
