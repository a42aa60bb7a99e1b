// AVX2: quantising a column of inputs and storing a column of outputs, shared by both products.

#ifndef SUB3_KERNELS_COLUMNS_AVX2_H_
#define SUB3_KERNELS_COLUMNS_AVX2_H_

#include <immintrin.h>

#include <algorithm>

#include "kernels/products/bcq_matmul.h"

namespace sub3 {
namespace SUB3_ISA_NAMESPACE {
namespace {

inline __m256i Load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

// sum + v, computed here and in place. GCC 12 would delay additions until all products of the loop body exist, more
// than there are registers, or copy every sum to another register.
inline __m256i AddInts(__m256i sum, __m256i v) {
  asm("vpaddd %1, %0, %0" : "+x"(sum) : "x"(v));
  return sum;
}
inline __m256i AddShorts(__m256i sum, __m256i v) {
  asm("vpaddw %1, %0, %0" : "+x"(sum) : "x"(v));
  return sum;
}

inline __m256 Magnitudes(__m256 v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v); }

inline int32_t SumOfLanes(__m256i v) {
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

inline void StoreInts(__m256i v, int16_t* to) {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), words);
}
inline void StoreInts(__m256i v, int8_t* to) {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packs_epi16(words, words));
}

// xq[c] = rint(x[c] * (most / max|x|)), zeros up to chunks * 32; returns max|x| / most, 0 if all are zeros.
template <typename Integer>
inline float Quantize(const float* x, size_t columns, size_t chunks, float most, Integer* xq) {
  __m256 largest = _mm256_setzero_ps();
  size_t c = 0;
  for (; c + 8 <= columns; c += 8) largest = _mm256_max_ps(largest, Magnitudes(_mm256_loadu_ps(x + c)));
  alignas(32) float lanes[8];
  _mm256_store_ps(lanes, largest);
  float maximum = *std::max_element(lanes, lanes + 8);
  for (; c < columns; ++c) maximum = std::max(maximum, x[c] < 0 ? -x[c] : x[c]);
  const float inverse = maximum < kSmallestMaximum ? 0.0f : most / maximum;
  for (c = 0; c + 8 <= columns; c += 8) {
    StoreInts(_mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + c), _mm256_set1_ps(inverse))), xq + c);
  }
  for (; c < columns; ++c) xq[c] = static_cast<Integer>(_mm_cvtss_si32(_mm_set_ss(x[c] * inverse)));
  std::fill(xq + columns, xq + chunks * kChunkColumns, Integer{0});
  return inverse == 0 ? 0.0f : maximum / most;
}

// y[r] = values[r] + bias[r] for rows first to last of 8 N; bias may be null.
template <size_t N>
inline void StoreRows(const __m256 (&values)[N], const float* bias, size_t first, size_t last, float* y) {
  if (first == 0 && last == 8 * N) {
    for (size_t i = 0; i < N; ++i) {
      _mm256_storeu_ps(y + 8 * i, bias ? _mm256_add_ps(values[i], _mm256_loadu_ps(bias + 8 * i)) : values[i]);
    }
    return;
  }
  alignas(32) float lanes[8 * N];
  for (size_t i = 0; i < N; ++i) _mm256_store_ps(lanes + 8 * i, values[i]);
  for (size_t r = first; r < last; ++r) y[r] = bias ? lanes[r] + bias[r] : lanes[r];
}

}  // namespace
}  // namespace SUB3_ISA_NAMESPACE
}  // namespace sub3

#endif  // SUB3_KERNELS_COLUMNS_AVX2_H_
