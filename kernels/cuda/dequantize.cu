// Bytes of a format to singles, a value per thread and turn, so that a warp writes 128 bytes that lie together.
// Reference: `Codec::decode`, bit for bit.
// Grid: one block for each PER_BLOCK values. Block: 256 threads.
// Registers: 40 at most.
#include "formats.cuh"

constexpr u32 THREADS = 256;
// As in the launch on the host.
constexpr u32 PER_BLOCK = 1024;

template <class Format> __device__ __forceinline__ void dequantize(const u8 *blocks, float *values, u64 count) {
    u64 first = u64(blockIdx.x) * PER_BLOCK;
    for (u32 i = threadIdx.x; i < PER_BLOCK; i += THREADS) {
        u64 at = first + i;
        if (at < count) {
            values[at] = Format::value(blocks + at / Format::BLOCK * Format::BYTES, u32(at % Format::BLOCK));
        }
    }
}

#define DEQUANTIZE(name, Format)                                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                              \
        dequantize_##name(const u8 *__restrict__ blocks, float *__restrict__ values, u64 count) {                      \
        dequantize<Format>(blocks, values, count);                                                                     \
    }                                                                                                                  \
    KERNEL(dequantize_##name)

DEQUANTIZE(f32, F32)
DEQUANTIZE(f16, F16)
DEQUANTIZE(bf16, Bf16)
DEQUANTIZE(f64, F64)
DEQUANTIZE(f8_e4m3, E4M3)
DEQUANTIZE(f8_e5m2, E5M2)
DEQUANTIZE(q8_0, Q8_0)
DEQUANTIZE(q4_0, Q4_0)
DEQUANTIZE(q4_1, Q4_1)
DEQUANTIZE(q5_0, Q5_0)
DEQUANTIZE(q5_1, Q5_1)
DEQUANTIZE(q2_k, Q2K)
DEQUANTIZE(q3_k, Q3K)
DEQUANTIZE(q4_k, Q4K)
DEQUANTIZE(q5_k, Q5K)
DEQUANTIZE(q6_k, Q6K)
DEQUANTIZE(iq4_nl, Iq4Nl)
DEQUANTIZE(iq4_xs, Iq4Xs)
DEQUANTIZE(mxfp4, Mxfp4)
DEQUANTIZE(nvfp4, Nvfp4)
DEQUANTIZE(tq1_0, Tq1_0)
DEQUANTIZE(tq2_0, Tq2_0)
