// AVX2: quantising a column of inputs and storing a column of outputs, shared by both products.

#ifndef SUB3_KERNELS_COLUMNS_AVX2_H_
#define SUB3_KERNELS_COLUMNS_AVX2_H_

#include <immintrin.h>

#include <algorithm>

#include "kernels/floats/unroll.h"
#include "kernels/products/bcq_int8_matmul.h"

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
inline __m256i AddShortsAt(__m256i sum, const void* from) {  // aligned
  asm("vpaddw %1, %0, %0" : "+x"(sum) : "m"(*static_cast<const __m256i*>(from)));
  return sum;
}

inline __m256 Magnitudes(__m256 v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v); }

inline int32_t SumOfLanes(__m256i v) {
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

// Sixteen int16, or as int8.
inline void StoreShorts(__m256i v, int16_t* to) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), v); }
inline void StoreShorts(__m256i v, int8_t* to) {
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
}

inline float Largest(const float* x, size_t columns) {
  __m256 largest[4] = {};
  size_t c = 0;
  for (; c + 32 <= columns; c += 32) {
    Unroll<4>([&](auto i) { largest[i] = _mm256_max_ps(largest[i], Magnitudes(_mm256_loadu_ps(x + c + 8 * i))); });
  }
  alignas(32) float lanes[8];
  _mm256_store_ps(lanes, _mm256_max_ps(_mm256_max_ps(largest[0], largest[1]), _mm256_max_ps(largest[2], largest[3])));
  float maximum = *std::max_element(lanes, lanes + 8);
  for (; c < columns; ++c) maximum = std::max(maximum, x[c] < 0 ? -x[c] : x[c]);
  return maximum;
}

// xq[c] = rint(x[c] * factor), zeros up to chunks * 32.
template <typename Integer>
inline void Round(const float* x, size_t columns, size_t chunks, float factor, Integer* xq) {
  size_t c = 0;
  const __m256 factors = _mm256_set1_ps(factor);
  for (; c + 16 <= columns; c += 16) {
    const __m256i first = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + c), factors));
    const __m256i second = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + c + 8), factors));
    StoreShorts(_mm256_permute4x64_epi64(_mm256_packs_epi32(first, second), 0xd8), xq + c);
  }
  for (; c < columns; ++c) xq[c] = static_cast<Integer>(_mm_cvtss_si32(_mm_set_ss(x[c] * factor)));
  std::fill(xq + columns, xq + chunks * kChunkColumns, Integer{0});
}

// Quantises a column as bcq_int8_matmul.h has it; returns s.
template <typename Integer>
inline float QuantizeToInt8(const float* x, size_t columns, size_t chunks, Integer* xq) {
  const float maximum = Largest(x, columns);
  const bool zero = maximum < kSmallestMaximum;
  Round(x, columns, chunks, zero ? 0.0f : kMaxInt8Input / maximum, xq);
  return zero ? 0.0f : maximum / kMaxInt8Input;
}

// Quantises a column as bcq_matmul.h has it; returns s.
inline float Quantize(const float* x, size_t columns, size_t chunks, int16_t* xq) {
  const float maximum = Largest(x, columns);
  const bool zero = maximum < kSmallestMaximum;
  Round(x, columns, chunks, zero ? 0.0f : kMaxQuantized / maximum, xq);
  if (zero) return 0;
  int32_t most = 0;
  for (size_t c = 0; c < chunks * kChunkColumns; c += kWindowColumns) {
    const int16_t* end = xq + std::min(c + kWindowColumns, chunks * kChunkColumns);
    __m256i sums = _mm256_setzero_si256();
    for (const int16_t* v = xq + c; v < end; v += 16) {
      sums = _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_abs_epi16(Load(v)), _mm256_set1_epi16(1)));
    }
    most = std::max(most, SumOfLanes(sums));
  }
  const float steps = Steps(most);
  if (steps < kMaxQuantized) Round(x, columns, chunks, steps / maximum, xq);
  return maximum / steps;
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
