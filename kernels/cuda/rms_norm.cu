// y = x / sqrt(mean(x^2) + eps) * weight for each row: threads add up every 256th square, and then each other in a fixed tree.
// Reference: `ops::rms_norm`.
// Grid: a block for each row. Block: 256 threads.
// Registers: 40 at most.
#include "words.cuh"

constexpr u32 THREADS = 256;

extern "C" __global__ void __launch_bounds__(THREADS)
    rms_norm(const float *__restrict__ x, const float *__restrict__ weight, float *__restrict__ y, u32 length, float eps) {
    __shared__ float sums[THREADS];
    const float *own = x + u64(blockIdx.x) * length;
    float sum = 0;
    for (u32 i = threadIdx.x; i < length; i += THREADS) {
        sum = fmaf(own[i], own[i], sum);
    }
    sums[threadIdx.x] = sum;
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
            sums[threadIdx.x] += sums[threadIdx.x + half];
        }
    }
    __syncthreads();
    float scale = 1.0f / sqrtf(sums[0] / float(length) + eps);
    for (u32 i = threadIdx.x; i < length; i += THREADS) {
        y[u64(blockIdx.x) * length + i] = own[i] * scale * weight[i];
    }
}
KERNEL(rms_norm)
