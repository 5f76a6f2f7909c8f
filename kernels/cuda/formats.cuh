// The storage formats: for each one the values and bytes of a block, and the value at a place of a block. The layouts are
// those of `Codec::about`; products and sums come in the order of the CPU's decoders, so that values are the same bit for bit
// (no contraction: kernels are compiled with --fmad=false).
#pragma once
#include "words.cuh"

struct F32 {
    static const u32 BLOCK = 1, BYTES = 4;
    static __device__ float value(const u8 *b, u32) { return __uint_as_float(word_at(b)); }
};

struct F16 {
    static const u32 BLOCK = 1, BYTES = 2;
    static __device__ float value(const u8 *b, u32) { return half_at(b); }
};

struct Bf16 {
    static const u32 BLOCK = 1, BYTES = 2;
    static __device__ float value(const u8 *b, u32) { return bf16_value(pair_at(b)); }
};

struct F64 {
    static const u32 BLOCK = 1, BYTES = 8;
    static __device__ float value(const u8 *b, u32) {
        u64 bits = word_at(b) | u64(word_at(b + 4)) << 32;
        double wide;
#ifdef EMULATOR
        memcpy(&wide, &bits, 8);
#else
        wide = __longlong_as_double(bits);
#endif
        return float(wide);
    }
};

struct E4M3 {
    static const u32 BLOCK = 1, BYTES = 1;
    static __device__ float value(const u8 *b, u32) {
        // The biases are 8 apart.
        u16 sign = u16((b[0] & 0x80) << 8), rest = b[0] & 0x7f;
        return 256.0f * half_value(sign | (rest == 0x7f ? 0x7e00 : rest << 7));
    }
};

struct E5M2 {
    static const u32 BLOCK = 1, BYTES = 1;
    static __device__ float value(const u8 *b, u32) { return half_value(u16(b[0] << 8)); }
};

// Element i of `half` bytes' low, then high halves.
__device__ __forceinline__ u32 nibble(const u8 *bytes, u32 i, u32 half) {
    return i < half ? bytes[i] & 15 : bytes[i - half] >> 4;
}

struct Q8_0 {
    static const u32 BLOCK = 32, BYTES = 34;
    static __device__ float value(const u8 *b, u32 i) { return half_at(b) * float(i8(b[2 + i])); }
};

struct Q4_0 {
    static const u32 BLOCK = 32, BYTES = 18;
    static __device__ float value(const u8 *b, u32 i) { return half_at(b) * float(int(nibble(b + 2, i, 16)) - 8); }
};

struct Q4_1 {
    static const u32 BLOCK = 32, BYTES = 20;
    static __device__ float value(const u8 *b, u32 i) {
        return half_at(b) * float(nibble(b + 4, i, 16)) + half_at(b + 2);
    }
};

struct Q5_0 {
    static const u32 BLOCK = 32, BYTES = 22;
    static __device__ float value(const u8 *b, u32 i) {
        u32 code = nibble(b + 6, i, 16) | (word_at(b + 2) >> i & 1) << 4;
        return half_at(b) * float(int(code) - 16);
    }
};

struct Q5_1 {
    static const u32 BLOCK = 32, BYTES = 24;
    static __device__ float value(const u8 *b, u32 i) {
        u32 code = nibble(b + 8, i, 16) | (word_at(b + 4) >> i & 1) << 4;
        return half_at(b) * float(code) + half_at(b + 2);
    }
};

// Bits 2 s to 2 s + 1 of byte j of 32, for element 32 s + j of 128.
__device__ __forceinline__ u32 two_bits(const u8 *bytes, u32 i) {
    return bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

struct Q2K {
    static const u32 BLOCK = 256, BYTES = 84;
    static __device__ float value(const u8 *b, u32 i) {
        u8 scales = b[i / 16];
        float scale = half_at(b + 80) * float(scales & 15), minimum = half_at(b + 82) * float(scales >> 4);
        return scale * float(two_bits(b + 16, i)) - minimum;
    }
};

struct Q3K {
    static const u32 BLOCK = 256, BYTES = 110;
    static __device__ float value(const u8 *b, u32 i) {
        u32 sub = i / 16, third = b[i % 32] >> (i / 32) & 1;
        u32 low = b[96 + sub % 8] >> (sub / 8 * 4) & 15, upper = b[104 + sub % 4] >> (sub / 4 * 2) & 3;
        float scale = half_at(b + 108) * float(int(low | upper << 4) - 32);
        return scale * float(int(two_bits(b + 32, i) | third << 2) - 4);
    }
};

// The six-bit scale and minimum of sub-block `sub` of q4_k and q5_k.
struct SixBits {
    u32 scale, minimum;
    static __device__ SixBits of(const u8 *packed, u32 sub) {
        if (sub < 4) {
            return {packed[sub] & 63u, packed[sub + 4] & 63u};
        }
        u32 low = packed[sub + 4], scale_top = packed[sub - 4] >> 6, minimum_top = packed[sub] >> 6;
        return {(low & 15) | scale_top << 4, low >> 4 | minimum_top << 4};
    }
    __device__ float value(const u8 *b, u32 code) const {
        float step = half_at(b) * float(scale), least = half_at(b + 2) * float(minimum);
        return step * float(code) - least;
    }
};

struct Q4K {
    static const u32 BLOCK = 256, BYTES = 144;
    static __device__ float value(const u8 *b, u32 i) {
        u32 code = nibble(b + 16 + i / 64 * 32, i % 64, 32);
        return SixBits::of(b + 4, i / 32).value(b, code);
    }
};

struct Q5K {
    static const u32 BLOCK = 256, BYTES = 176;
    static __device__ float value(const u8 *b, u32 i) {
        u32 fifth = b[16 + i % 32] >> (i / 32) & 1;
        u32 code = nibble(b + 48 + i / 64 * 32, i % 64, 32) | fifth << 4;
        return SixBits::of(b + 4, i / 32).value(b, code);
    }
};

struct Q6K {
    static const u32 BLOCK = 256, BYTES = 210;
    static __device__ float value(const u8 *b, u32 i) {
        u32 code = nibble(b + i / 128 * 64, i % 128, 64) | two_bits(b + 128, i) << 4;
        float scale = half_at(b + 208) * float(i8(b[192 + i / 16]));
        return scale * float(int(code) - 32);
    }
};

// A number of iq4_nl and iq4_xs.
__device__ __forceinline__ float iq4_level(u32 code) {
    const signed char levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    return float(levels[code]);
}

struct Iq4Nl {
    static const u32 BLOCK = 32, BYTES = 18;
    static __device__ float value(const u8 *b, u32 i) { return half_at(b) * iq4_level(nibble(b + 2, i, 16)); }
};

struct Iq4Xs {
    static const u32 BLOCK = 256, BYTES = 136;
    static __device__ float value(const u8 *b, u32 i) {
        u32 sub = i / 32, low = b[4 + sub / 2] >> (sub % 2 * 4) & 15, upper = pair_at(b + 2) >> (2 * sub) & 3;
        float scale = half_at(b) * float(int(low | upper << 4) - 32);
        return scale * iq4_level(nibble(b + 8 + 16 * sub, i % 32, 16));
    }
};

// Twice a number of E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives.
__device__ __forceinline__ float twice_e2m1(u32 code) {
    u32 exponent = code >> 1 & 3, mantissa = code & 1;
    int twice = exponent == 0 ? int(mantissa) : int(2 + mantissa) << (exponent - 1);
    return float(code & 8 ? -twice : twice);
}

struct Mxfp4 {
    static const u32 BLOCK = 32, BYTES = 17;
    static __device__ float value(const u8 *b, u32 i) {
        // 2^(e - 128), which is subnormal below 2.
        u32 bits = b[0] < 2 ? 0x00200000u << b[0] : u32(b[0] - 1) << 23;
        return __uint_as_float(bits) * twice_e2m1(nibble(b + 1, i, 16));
    }
};

struct Nvfp4 {
    static const u32 BLOCK = 64, BYTES = 36;
    static __device__ float value(const u8 *b, u32 i) {
        // Half of a float8 without sign, with a bias of 7; 0x7f is 0.
        u32 sub = i / 16, code = b[sub], exponent = code >> 3 & 15;
        float mantissa = float(code & 7);
        float normal = __uint_as_float((exponent + 119) << 23) * (1.0f + mantissa / 8.0f);
        float half = code == 0x7f ? 0.0f : exponent == 0 ? mantissa / 1024.0f : normal;
        return half * twice_e2m1(nibble(b + 4 + 8 * sub, i % 16, 8));
    }
};

struct Tq1_0 {
    static const u32 BLOCK = 256, BYTES = 54;
    static __device__ float value(const u8 *b, u32 i) {
        // 32 bytes with five digits, 16 with five, 4 with four.
        u32 first = i < 160 ? 0 : i < 240 ? 32 : 48, run = i < 160 ? 32 : i < 240 ? 16 : 4;
        u32 at = i < 160 ? i : i < 240 ? i - 160 : i - 240;
        u32 fraction = b[first + at % run];
        for (u32 digit = 0; digit < at / run; digit++) {
            fraction = fraction * 3 & 255;
        }
        return half_at(b + 52) * float(int(fraction * 3 >> 8) - 1);
    }
};

struct Tq2_0 {
    static const u32 BLOCK = 256, BYTES = 66;
    static __device__ float value(const u8 *b, u32 i) { return half_at(b + 64) * float(int(two_bits(b, i)) - 1); }
};
