// Singles to q4_k, a thread for each 32 values, eight of them for a block of 256.
// Reference: `Codec::encode` of q4_k, byte for byte, for both efforts, with and without importance.
// Grid: a block for each 32 blocks of values. Block: 256 threads.
// Registers: 208 at most.
#include "search.cuh"

constexpr float TOP = 15, MOST = 63;
constexpr u32 GROUP = 8;

// How much wider than the range of values a code's steps are made, and by how much codes are shifted.
__device__ const float FAST[4][2] = {{-1.72f, 0.09f}, {-0.92f, 0.02f}, {0.42f, -0.03f}, {0.45f, 0.42f}};
__device__ const float BEST[8][2] = {{-1.97f, 0.14f}, {-0.86f, 0.04f}, {-0.71f, -0.62f}, {0.13f, 0.03f},
                                     {0.23f, 0.31f},  {0.78f, 0.02f},  {0.88f, 0.84f},   {1.53f, 0.65f}};
// And around the best of these.
__device__ const float AROUND[4][2] = {{-0.49f, -0.23f}, {0.04f, -0.15f}, {0.62f, 0.19f}, {0.71f, 0.49f}};

// Of the eight threads of a block, in all of them.
__device__ __forceinline__ float of_lane(float own, u32 n) {
    return __shfl_sync(0xffffffffu, own, threadIdx.x % 32 / GROUP * GROUP + n);
}
__device__ __forceinline__ float group_max(float own) {
    float top = of_lane(own, 0);
    for (u32 n = 0; n < GROUP; n++) {
        top = larger(of_lane(own, n), top);
    }
    return top;
}
__device__ __forceinline__ float group_sum(float own) {
    float sum = 0;
    for (u32 n = 0; n < GROUP; n++) {
        sum += of_lane(own, n);
    }
    return sum;
}
__device__ __forceinline__ bool in_group(bool own) { return group_sum(own ? 1.0f : 0.0f) > 0; }

// Sums over a sub-block: of w, w x; and for codes q, of w q, w q q, w x q.
struct Whole {
    float w, wx;
};
struct Sums {
    float q, qq, xq;
};
struct Pair {
    float scale, min;
};

__device__ __forceinline__ Whole whole_of(const Values &of) {
    Whole whole = {0, 0};
#pragma unroll
    for (u32 k = 0; k < SUB; k++) {
        whole.w += of.w[k];
        whole.wx += of.w[k] * of.x[k];
    }
    return whole;
}

// For codes x * inverse + offset.
__device__ __forceinline__ Sums sums_of(const Values &of, float inverse, float offset) {
    Sums sums = {0, 0, 0};
#pragma unroll
    for (u32 k = 0; k < SUB; k++) {
        float q = nearest(clamp(of.x[k] * inverse + offset, 0.0f, TOP));
        float wq = of.w[k] * q;
        sums.q += wq;
        sums.qq += wq * q;
        sums.xq += of.w[k] * of.x[k] * q;
    }
    return sums;
}

// Numerators and denominator of the best pair; the denominator is 0 where the codes hardly differ, or the minimum would be
// positive: then there is only one of the two.
struct Solved {
    float scale, min, usable;
    bool flat;
};

__device__ __forceinline__ Solved solve(const Whole &whole, const Sums &s) {
    Solved solved;
    float product = whole.w * s.qq;
    float determinant = product - s.q * s.q;
    solved.scale = whole.w * s.xq - whole.wx * s.q;
    solved.min = s.qq * whole.wx - s.q * s.xq;
    solved.usable = product * 1e-5f < determinant ? determinant : 0.0f;
    solved.usable = 0.0f < solved.min ? 0.0f : solved.usable;
    // A minimum alone is better than a scale alone.
    solved.flat = whole.wx < 0.0f && s.q < 1.0f;
    return solved;
}

__device__ __forceinline__ float gain_of(const Whole &whole, const Sums &s) {
    Solved solved = solve(whole, s);
    float both = solved.scale * s.xq + solved.min * whole.wx;
    float alone = solved.flat ? whole.wx * whole.wx : s.xq * s.xq;
    float by = solved.flat ? whole.w : s.qq;
    return ratio(0.0f < solved.usable ? both : alone, 0.0f < solved.usable ? solved.usable : by);
}

__device__ __forceinline__ Pair fit(const Whole &whole, const Sums &s) {
    Solved solved = solve(whole, s);
    bool both = 0.0f < solved.usable;
    float scale_alone = solved.flat ? 0.0f : ratio(s.xq, s.qq);
    float min_alone = solved.flat ? ratio(whole.wx, whole.w) : 0.0f;
    return {both ? solved.scale / solved.usable : scale_alone, both ? solved.min / solved.usable : min_alone};
}

struct Best {
    Sums sums;
    float gain, wider, shift;
};

__device__ __forceinline__ void offer(Best &best, const Whole &whole, const Sums &s, float wider, float shift) {
    float gain = gain_of(whole, s);
    if (best.gain < gain) {
        best.sums = s;
        best.wider = wider;
        best.shift = shift;
    }
    best.gain = larger(gain, best.gain);
}

// The scale and the minimum, never above 0, that lose least of those that are tried.
__device__ __forceinline__ Pair searched(const Values &of, const Whole &whole, bool best_effort) {
    float low = smaller(of.x[0], 0.0f), high = of.x[0];
#pragma unroll
    for (u32 k = 1; k < SUB; k++) {
        low = smaller(of.x[k], low);
        high = larger(of.x[k], high);
    }
    float unit = inverse_of(high - low);
    Best best = {{0, 0, 0}, -1, 0, 0};
    float wider = 0, shift = 0;
    u32 count = best_effort ? 8 : 4;
    for (u32 n = 0; n < count + (best_effort ? 4 : 0); n++) {
        if (n == count) {
            wider = best.wider;
            shift = best.shift;
        }
        const float *offset = n >= count ? AROUND[n - count] : best_effort ? BEST[n] : FAST[n];
        float own_wider = wider + offset[0], own_shift = shift + offset[1];
        float inverse = unit * (TOP + own_wider);
        offer(best, whole, sums_of(of, inverse, 0.0f - low * inverse - own_shift), own_wider, own_shift);
    }
    // Once more with the codes of the best pair.
    Pair pair = fit(whole, best.sums);
    float inverse = inverse_of(pair.scale);
    offer(best, whole, sums_of(of, inverse, 0.0f - pair.min * inverse), best.wider, best.shift);
    return fit(whole, best.sums);
}

// What a block's pairs share: two scales in half precision, and an integer of each for every pair.
struct Shared {
    u16 d, dmin;
    float step, min_step;
};

// The best of an integer and its two neighbours, with the minimum's integer fitted to it.
__device__ __forceinline__ Sums beside(const Values &of, const Whole &whole, float unit, float min_unit, Shared &shared) {
    float per_min = inverse_of(min_unit), per_weight = inverse_of(whole.w);
    float start = shared.step, min_start = shared.min_step, least = __uint_as_float(0x7f800000);
    Sums kept = {0, 0, 0};
    for (u32 j = 0; j < 3; j++) {
        float tried = clamp(start + (j == 0 ? 0.0f : j == 1 ? -1.0f : 1.0f), 0.0f, MOST);
        float t = unit * tried, inverse = inverse_of(t);
        float min = min_unit * larger(min_start + 0.0f, 0.0f);
        Sums s = sums_of(of, inverse, min * inverse);
        float wanted = (t * s.q - whole.wx) * per_weight;
        float min_step = nearest(clamp(wanted * per_min, 0.0f, MOST));
        float m = min_unit * min_step;
        float by_scale = t * (t * s.qq - (s.xq + s.xq));
        float by_min = m * whole.w + (whole.wx + whole.wx) - (t + t) * s.q;
        float error = by_scale + m * by_min;
        if (error < least) {
            shared.step = tried;
            shared.min_step = min_step;
            kept = s;
        }
        least = smaller(error, least);
    }
    return kept;
}

// The two scales that are best for all codes of a block; those that there are where that is none.
__device__ __forceinline__ void fit_units(const Whole &whole, const Sums &s, float unit, float min_unit, Shared &shared) {
    float step = shared.step, min_step = shared.min_step;
    float a = group_sum(step * step * s.qq), b = group_sum(step * min_step * s.q);
    float c = group_sum(min_step * min_step * whole.w);
    float p = group_sum(step * s.xq), r = group_sum(min_step * whole.wx);
    float product = a * c, determinant = product - b * b;
    float fitted = (p * c - r * b) / determinant, min_fitted = (p * b - r * a) / determinant;
    float both = product * 1e-6f < determinant ? determinant : 0.0f;
    both = 0.0f < fitted ? (min_fitted < 0.0f ? 0.0f : both) : 0.0f;
    float alone = 0.0f < c ? unit : 0.0f < a ? larger(p / a, 0.0f) : unit;
    shared.d = half_bits(0.0f < both ? fitted : alone);
    shared.dmin = half_bits(0.0f < both ? min_fitted : min_unit);
}

__device__ __forceinline__ Shared share(const Values &of, const Whole &whole, const Pair &pair) {
    float scale = larger(pair.scale, 0.0f), min = larger(0.0f - pair.min, 0.0f);
    float least = 1.0f / MOST;
    Shared shared;
    shared.d = half_bits(group_max(scale) * least);
    shared.dmin = half_bits(group_max(min) * least);
    float unit = half_value(shared.d), min_unit = half_value(shared.dmin);
    shared.step = nearest(clamp(scale * inverse_of(unit), 0.0f, MOST));
    shared.min_step = nearest(clamp(min * inverse_of(min_unit), 0.0f, MOST));
    Sums s = beside(of, whole, unit, min_unit, shared);
    fit_units(whole, s, unit, min_unit, shared);
    return shared;
}

// effort: 1 fast, 2 best. weights: of `columns` columns, none where that is 0. bad[n] says of block n: 0 sound, 1 not finite, 2 too
// large; such blocks are zeros.
extern "C" __global__ void __launch_bounds__(256)
    encode_q4_k(const float *__restrict__ values, const float *__restrict__ weights, u8 *__restrict__ blocks,
                u8 *__restrict__ bad, u64 count, u64 columns, u32 effort) {
    u64 block = u64(blockIdx.x) * 32 + threadIdx.x / GROUP;
    u32 sub = threadIdx.x % GROUP;
    bool there = block < count;
    u64 first = block * 256 + sub * SUB;
    Values own;
    own.clear();
    if (there) {
        own.load(values + first);
    }
    bool finite = !in_group(!own.finite());
    if (!finite) {
        own.clear();
    }
    own.scale_weights(group_max(own.weigh(there ? weights_of(weights, columns, first) : nullptr)));
    Whole whole = whole_of(own);
    Shared shared = share(own, whole, searched(own, whole, effort == 2));
    float scale = half_value(shared.d) * shared.step, min = half_value(shared.dmin) * shared.min_step;
    float inverse = inverse_of(scale), offset = 0.0f - (0.0f - min) * inverse;
    Codes codes;
    codes.clear();
    bool lost = false;
#pragma unroll
    for (u32 k = 0; k < SUB; k++) {
        float q = nearest(clamp(own.x[k] * inverse + offset, 0.0f, TOP));
        codes.set(k, u32(int(q)));
        lost = lost || is_lost(own.x[k], scale * q - min);
    }
    lost = in_group(lost);
    bool sound = finite && !lost;
    u8 *out = blocks + block * 144;
    // Six bits of each integer, spread over twelve bytes.
    u32 steps[GROUP], mins[GROUP];
#pragma unroll
    for (u32 n = 0; n < GROUP; n++) {
        steps[n] = u32(int(of_lane(shared.step, n)));
        mins[n] = u32(int(of_lane(shared.min_step, n)));
    }
    Codes next;
#pragma unroll
    for (u32 n = 0; n < 4; n++) {
        next.words[n] = __shfl_xor_sync(0xffffffffu, codes.words[n], 1);
    }
    if (there && sub == 0) {
        out[0] = sound ? u8(shared.d) : 0;
        out[1] = sound ? u8(shared.d >> 8) : 0;
        out[2] = sound ? u8(shared.dmin) : 0;
        out[3] = sound ? u8(shared.dmin >> 8) : 0;
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
            out[4 + j] = sound ? u8(steps[j] | steps[j + 4] >> 4 << 6) : 0;
            out[8 + j] = sound ? u8(mins[j] | mins[j + 4] >> 4 << 6) : 0;
            out[12 + j] = sound ? u8((steps[j + 4] & 15) | mins[j + 4] << 4) : 0;
        }
        bad[block] = !finite ? 1 : lost ? 2 : 0;
    }
    if (there && sub % 2 == 0) {
#pragma unroll
        for (u32 k = 0; k < SUB; k++) {
            out[16 + sub / 2 * SUB + k] = sound ? u8(codes.get(k) | next.get(k) << 4) : 0;
        }
    }
}
KERNEL(encode_q4_k)
