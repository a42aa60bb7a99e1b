// AVX-512: quantising a column of inputs, shared by the products with tables and with tiles.

#ifndef SUB3_KERNELS_COLUMNS_AVX512_H_
#define SUB3_KERNELS_COLUMNS_AVX512_H_

#include <immintrin.h>

#include <algorithm>

#include "kernels/products/bcq_matmul.h"

namespace sub3 {
namespace SUB3_ISA_NAMESPACE {
namespace {

inline __m512i Load(const void* p) { return _mm512_loadu_si512(p); }

// The lanes of 16 that begin at c which are inside `columns`.
inline __mmask16 Tail(size_t columns, size_t c) {
  return c >= columns ? 0 : columns - c >= 16 ? 0xffff : static_cast<__mmask16>((1u << (columns - c)) - 1);
}

// The rows of 16 that begin at `row` which are inside [begin, end).
inline __mmask16 Inside(size_t row, size_t begin, size_t end) {
  __mmask16 inside = 0xffff;
  if (row < begin) inside &= static_cast<__mmask16>(0xffffu << std::min<size_t>(begin - row, 16));
  if (row + 16 > end) inside &= static_cast<__mmask16>((1u << (end - row)) - 1);
  return inside;
}

inline float Largest(const float* x, size_t columns) {
  __m512 largest = _mm512_setzero_ps();
  for (size_t c = 0; c < columns; c += 16) {
    largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_maskz_loadu_ps(Tail(columns, c), x + c)));
  }
  return _mm512_reduce_max_ps(largest);
}

// Byte i of a chunk in the order in which code words are unpacked: column 8 (i % 4) + i / 4, so that bit j of a word's
// four bytes stands for four bytes that lie together.
struct UnpackedOrder {
  alignas(32) uint8_t column[kChunkColumns];
};
constexpr UnpackedOrder MakeUnpackedOrder() {
  UnpackedOrder order{};
  for (size_t i = 0; i < kChunkColumns; ++i) order.column[i] = static_cast<uint8_t>(8 * (i % 4) + i / 4);
  return order;
}
inline __m256i InUnpackedOrder(__m256i chunk) {
  static constexpr UnpackedOrder kOrder = MakeUnpackedOrder();
  return _mm256_permutexvar_epi8(_mm256_load_si256(reinterpret_cast<const __m256i*>(kOrder.column)), chunk);
}

// xq[c] = rint(x[c] * factor), zeros up to chunks * 32; returns the largest sum of magnitudes over a window.
inline int32_t Round(const float* x, size_t columns, size_t chunks, float factor, int16_t* xq) {
  int32_t most = 0;
  for (size_t c = 0; c < chunks * kChunkColumns;) {
    __m512i magnitudes = _mm512_setzero_si512();
    for (const size_t end = std::min(c + kWindowColumns, chunks * kChunkColumns); c < end; c += 16) {
      const __m512 values = _mm512_mul_ps(_mm512_maskz_loadu_ps(Tail(columns, c), x + c), _mm512_set1_ps(factor));
      const __m512i rounded = _mm512_cvtps_epi32(values);
      magnitudes = _mm512_add_epi32(magnitudes, _mm512_abs_epi32(rounded));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(xq + c), _mm512_cvtepi32_epi16(rounded));
    }
    most = std::max(most, _mm512_reduce_add_epi32(magnitudes));
  }
  return most;
}

// xq of bcq_matmul.h, zeros up to chunks * 32; returns s.
inline float QuantizeExact(const float* x, size_t columns, size_t chunks, int16_t* xq) {
  const float maximum = Largest(x, columns);
  const bool zero = maximum < kSmallestMaximum;
  const float steps = Steps(Round(x, columns, chunks, zero ? 0.0f : kMaxQuantized / maximum, xq));
  if (steps < kMaxQuantized) Round(x, columns, chunks, steps / maximum, xq);
  return zero ? 0.0f : maximum / steps;
}

}  // namespace
}  // namespace SUB3_ISA_NAMESPACE
}  // namespace sub3

#endif  // SUB3_KERNELS_COLUMNS_AVX512_H_
