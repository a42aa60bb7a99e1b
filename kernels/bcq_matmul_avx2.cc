// AVX2: the contract of bcq_matmul.h by look-up tables.
//
// vpshufb looks 16 bytes up in one table of 16 entries for each 128-bit half, but a code word has four bytes that need
// four different tables. So the 64 bytes of a block and chunk (16 rows x 4 byte positions) are transposed first:
//
//     instruction        count   ports (Haswell; Ice Lake on: p15)   what
//     vpshufb/unpack/vpermq  6   p5                                  byte positions 0 | 1 and 2 | 3, 16 rows each
//     vpand, vpsrlw          6   p015                                nibbles
//     vpshufb                8   p5                                  32 look-ups each
//     vpaddw, vpsrlw        24   p015, p01                           bytes into 16-bit sums
//
// 44 operations for 512 weight-bits: about 35 weight-bits a cycle. Sums of bytes stay below 2^16 for 64 chunks; then
// they are widened. Two columns a pass share the transposition.

#include <immintrin.h>

#include "kernels/bcq_matmul_tables.h"

namespace sub3 {
namespace avx2 {

namespace {

constexpr size_t kChunksPerFlush = 64;  // 4 look-ups a chunk x 255 x 64 = 65280 < 2^16

inline __m256i Load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

// Sums of the bytes of many vectors: `all` adds 16-bit words as they are, `odd` their upper bytes.
struct ByteSums {
  __m256i all = _mm256_setzero_si256();
  __m256i odd = _mm256_setzero_si256();

  void Add(__m256i bytes) {
    all = _mm256_add_epi16(all, bytes);
    odd = _mm256_add_epi16(odd, _mm256_srli_epi16(bytes, 8));
  }

  // Rows 0-7 and 8-15 as int32. The halves hold different byte positions of the same rows, in the order that the
  // transposition left: rows 0-3, 8-11, 4-7, 12-15.
  void Widen(__m256i rows[2]) const {
    const __m256i even = _mm256_sub_epi16(all, _mm256_slli_epi16(odd, 8));
    const __m256i first = AddHalves(_mm256_unpacklo_epi16(even, odd));   // rows 0-3, 8-11
    const __m256i second = AddHalves(_mm256_unpackhi_epi16(even, odd));  // rows 4-7, 12-15
    rows[0] = _mm256_permute2x128_si256(first, second, 0x20);
    rows[1] = _mm256_permute2x128_si256(first, second, 0x31);
  }

 private:
  static __m256i AddHalves(__m256i words) {
    return _mm256_add_epi32(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(words)),
                            _mm256_cvtepu16_epi32(_mm256_extracti128_si256(words, 1)));
  }
};

struct Isa {
  static constexpr int kColumns = 2;

  static float BuildTables(const float* x, size_t columns, size_t chunks, int16_t* xq, uint8_t* tables) {
    const float s = Quantize(x, columns, chunks, xq);
    const __m256i bytes_apart = _mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15,  //
                                                 0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    const __m256i sign[4] = {_mm256_set1_epi32(0x0001ffff), _mm256_set1_epi64x(0x00010001ffffffff),
                             _mm256_setr_epi32(-1, -1, 0x00010001, 0x00010001, -1, -1, 0x00010001, 0x00010001),
                             _mm256_setr_epi32(-1, -1, -1, -1, 0x00010001, 0x00010001, 0x00010001, 0x00010001)};
    for (size_t table = 0; table < chunks * 8; ++table) {  // one table of 16 entries at a time
      __m256i entries = _mm256_set1_epi16(static_cast<int16_t>(kTableOffset));
      for (int k = 0; k < 4; ++k) {
        entries = _mm256_add_epi16(entries, _mm256_sign_epi16(_mm256_set1_epi16(xq[4 * table + k]), sign[k]));
      }
      const __m256i apart = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(entries, bytes_apart), 0xd8);
      uint8_t* out = tables + table / 8 * kTableBytesPerChunk + 128 * (table % 2) + 16 * (table % 8 / 2);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_castsi256_si128(apart));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 64), _mm256_extracti128_si256(apart, 1));
    }
    return s;
  }

  template <int C>
  static void Segment(const Product& product, const BcqSegment& segment, const uint8_t* tables, size_t table_stride,
                      const float* s, float* const* y) {
    const BcqMatrix& matrix = *product.weight;
    for (size_t block = segment.begin / kBlockRows; block * kBlockRows < segment.end; ++block) {
      __m256 totals[C][2];
      for (int c = 0; c < C; ++c) totals[c][0] = totals[c][1] = _mm256_setzero_ps();
      for (size_t group = 0; group < matrix.groups; ++group) {
        for (int plane = 0; plane < segment.planes; ++plane) {
          AddPlane<C>(matrix, segment, block, plane, group, tables, table_stride, totals);
        }
      }
      const size_t row = block * kBlockRows;
      for (int c = 0; c < C; ++c) {
        alignas(32) float values[kBlockRows];
        for (int half = 0; half < 2; ++half) {
          _mm256_store_ps(values + 8 * half, _mm256_mul_ps(totals[c][half], _mm256_set1_ps(s[c])));
        }
        const size_t first = std::max(row, segment.begin), last = std::min(row + kBlockRows, segment.end);
        for (size_t r = first; r < last; ++r) {
          y[c][r] = product.bias ? values[r - row] + product.bias[r] : values[r - row];
        }
      }
    }
  }

 private:
  static float Quantize(const float* x, size_t columns, size_t chunks, int16_t* xq) {
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    __m256 largest = _mm256_setzero_ps();
    size_t c = 0;
    for (; c + 8 <= columns; c += 8) {
      largest = _mm256_max_ps(largest, _mm256_and_ps(_mm256_loadu_ps(x + c), magnitude));
    }
    alignas(32) float lanes[8];
    _mm256_store_ps(lanes, largest);
    float maximum = *std::max_element(lanes, lanes + 8);
    for (; c < columns; ++c) maximum = std::max(maximum, x[c] < 0 ? -x[c] : x[c]);
    const float inverse = maximum < kSmallestMaximum ? 0.0f : kMaxQuantized / maximum;
    for (c = 0; c + 8 <= columns; c += 8) {
      const __m256i q = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + c), _mm256_set1_ps(inverse)));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(xq + c),
                       _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1)));
    }
    for (; c < columns; ++c) xq[c] = static_cast<int16_t>(_mm_cvtss_si32(_mm_set_ss(x[c] * inverse)));
    std::fill(xq + columns, xq + chunks * kChunkColumns, int16_t{0});
    return inverse == 0 ? 0.0f : maximum / kMaxQuantized;
  }

  template <int C>
  static void AddPlane(const BcqMatrix& matrix, const BcqSegment& segment, size_t block, int plane, size_t group,
                       const uint8_t* tables, size_t table_stride, __m256 (*totals)[2]) {
    const size_t first = group * matrix.chunks_per_group;
    const size_t last = std::min(first + matrix.chunks_per_group, matrix.chunks);
    const uint32_t* codes = matrix.planes[plane] + block * matrix.chunks * kBlockRows;
    const __m256i nibble = _mm256_set1_epi8(0x0f);
    const __m256i gather = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,  //
                                            0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m256i sums[C][2];
    for (int c = 0; c < C; ++c) {
      sums[c][0] = sums[c][1] = _mm256_set1_epi32(-static_cast<int32_t>((last - first) * kOffsetPerChunk));
    }
    for (size_t chunk = first; chunk < last;) {
      const size_t flush = std::min(chunk + kChunksPerFlush, last);
      ByteSums low[C], high[C];
      for (; chunk < flush; ++chunk) {
        const __m256i top = _mm256_shuffle_epi8(Load(codes + chunk * kBlockRows), gather);         // rows 0-7
        const __m256i bottom = _mm256_shuffle_epi8(Load(codes + chunk * kBlockRows + 8), gather);  // rows 8-15
        const __m256i positions[2] = {_mm256_permute4x64_epi64(_mm256_unpacklo_epi32(top, bottom), 0xd8),
                                      _mm256_permute4x64_epi64(_mm256_unpackhi_epi32(top, bottom), 0xd8)};
        const uint8_t* table = tables + chunk * kTableBytesPerChunk;
        for (int pair = 0; pair < 2; ++pair) {
          const __m256i even = _mm256_and_si256(positions[pair], nibble);
          const __m256i odd = _mm256_and_si256(_mm256_srli_epi16(positions[pair], 4), nibble);
          for (int c = 0; c < C; ++c) {
            const uint8_t* t = table + c * table_stride + 32 * pair;
            low[c].Add(_mm256_shuffle_epi8(Load(t), even));
            high[c].Add(_mm256_shuffle_epi8(Load(t + 64), even));
            low[c].Add(_mm256_shuffle_epi8(Load(t + 128), odd));
            high[c].Add(_mm256_shuffle_epi8(Load(t + 192), odd));
          }
        }
      }
      for (int c = 0; c < C; ++c) {
        __m256i low_rows[2], high_rows[2];
        low[c].Widen(low_rows);
        high[c].Widen(high_rows);
        for (int half = 0; half < 2; ++half) {
          const __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high_rows[half], 8), low_rows[half]);
          sums[c][half] = _mm256_add_epi32(sums[c][half], sum);
        }
      }
    }
    const uint16_t* scales = segment.scales + (plane * matrix.groups + group) * segment.scale_rows +
                             block * kBlockRows - segment.scale_begin;
    for (int half = 0; half < 2; ++half) {
      const __m256 alpha = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(scales + 8 * half)));
      for (int c = 0; c < C; ++c) {
        totals[c][half] = _mm256_add_ps(totals[c][half], _mm256_mul_ps(alpha, _mm256_cvtepi32_ps(sums[c][half])));
      }
    }
  }
};

}  // namespace

void BcqMatmul(const Product* products, size_t num_products, const float* x, size_t x_stride, size_t columns, size_t n,
               void* scratch) {
  TableMatmul<Isa>(products, num_products, x, x_stride, columns, n, scratch);
}

}  // namespace avx2
}  // namespace sub3
