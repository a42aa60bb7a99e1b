// AVX-512 with VBMI and VNNI: the contract of bcq_matmul.h by look-up tables.
//
// A 64-byte load is 32 columns of 16 rows. For each such load:
//
//     instruction   count   ports (Ice Lake, Sapphire Rapids)   pipes (Zen 4)   what
//     vpsrld          1     p0                                  FP1/2           bring the high nibbles down
//     vpternlogd      2     p05                                 any             nibble | 16 * byte position
//     vpermb          4     p5                                  FP1/2           64 look-ups of a byte each
//     vpdpbusd        4     p05                                 FP0/1           add the four bytes of a row up
//
// 11 operations for 512 weight-bits: on two 512-bit ports 5.5 cycles, 93 weight-bits a cycle, when the codes come from
// L1 or L2. Two columns a pass share the load and the first three.

#include "kernels/products/bcq_matmul_tables.h"
#include "kernels/products/columns_avx512.h"

namespace sub3 {
namespace avx512 {

namespace {

struct Spread {
  uint16_t data[2][2][4][32];
};
struct Bytes {
  uint8_t data[2][64];
};

// Which of a chunk's 32 inputs is input k of the table that lane l of (odd, half) belongs to.
constexpr Spread SpreadIndices() {
  Spread spread{};
  for (int odd = 0; odd < 2; ++odd)
    for (int half = 0; half < 2; ++half)
      for (int k = 0; k < 4; ++k)
        for (int l = 0; l < 32; ++l)
          spread.data[odd][half][k][l] = static_cast<uint16_t>(8 * (2 * half + l / 16) + 4 * odd + k);
  return spread;
}

constexpr Bytes ByteIndices() {
  Bytes bytes{};
  for (int i = 0; i < 64; ++i) {
    bytes.data[0][i] = static_cast<uint8_t>(2 * i);
    bytes.data[1][i] = static_cast<uint8_t>(2 * i + 1);
  }
  return bytes;
}

struct Isa {
  static constexpr int kColumns = 2;
  static constexpr size_t kBytesPerChunk = kTableBytesPerChunk;

  static float BuildTables(const float* x, size_t columns, size_t chunks, int16_t* xq, uint8_t* tables) {
    const float s = QuantizeExact(x, columns, chunks, xq);
    // Signed sums of 32 entries (two tables) at a time: lane l of a half belongs to key l % 16.
    const __mmask32 positive[4] = {0xaaaaaaaau, 0xccccccccu, 0xf0f0f0f0u, 0xff00ff00u};
    const __m512i offset = _mm512_set1_epi16(static_cast<int16_t>(kTableOffset));
    alignas(64) static constexpr auto kSpread = SpreadIndices();
    alignas(64) static constexpr auto kBytes = ByteIndices();
    const __m512i low_bytes = Load(kBytes.data[0]), high_bytes = Load(kBytes.data[1]);
    for (size_t chunk = 0; chunk < chunks; ++chunk, tables += kTableBytesPerChunk) {
      const __m512i inputs = Load(xq + chunk * kChunkColumns);
      for (size_t odd = 0; odd < 2; ++odd) {
        __m512i entries[2];
        for (int half = 0; half < 2; ++half) {
          __m512i sum = offset;
          for (int k = 0; k < 4; ++k) {
            const __m512i input = _mm512_permutexvar_epi16(Load(kSpread.data[odd][half][k]), inputs);
            sum = _mm512_mask_add_epi16(_mm512_sub_epi16(sum, input), positive[k], sum, input);
          }
          entries[half] = sum;
        }
        _mm512_storeu_si512(tables + 128 * odd, _mm512_permutex2var_epi8(entries[0], low_bytes, entries[1]));
        _mm512_storeu_si512(tables + 128 * odd + 64, _mm512_permutex2var_epi8(entries[0], high_bytes, entries[1]));
      }
    }
    return s;
  }

  template <int C>
  static void Segment(const Product& product, const BcqSegment& segment, const uint8_t* tables, size_t table_stride,
                      const float* s, float* const* y) {
    // Planes in passes of at most four; five as 3 + 2 is 4 % faster than as 4 + 1. Blocks: four or more sums of a
    // column hide the latency of the additions (Zen 5: one column of two blocks of three planes 1.05 times as fast as
    // of one, two columns of two blocks of two planes 0.96 times as fast).
    switch (segment.planes) {
      case 1:
        return Blocks<1, 0, C == 1 ? 4 : 2, C>(product, segment, tables, table_stride, s, y);
      case 2:
        return Blocks<2, 0, C == 1 ? 2 : 1, C>(product, segment, tables, table_stride, s, y);
      case 3:
        return Blocks<3, 0, C == 1 ? 2 : 1, C>(product, segment, tables, table_stride, s, y);
      case 4:
        return Blocks<4, 0, 1, C>(product, segment, tables, table_stride, s, y);
      case 5:
        return Blocks<3, 2, 1, C>(product, segment, tables, table_stride, s, y);
      case 6:
        return Blocks<3, 3, 1, C>(product, segment, tables, table_stride, s, y);
      case 7:
        return Blocks<4, 3, 1, C>(product, segment, tables, table_stride, s, y);
      default:
        return Blocks<4, 4, 1, C>(product, segment, tables, table_stride, s, y);
    }
  }

 private:
  // Blocks of 16 rows, B at a time so that B * P1 streams of codes keep the look-up port busy for few planes.
  template <int P1, int P2, int B, int C>
  static void Blocks(const Product& product, const BcqSegment& segment, const uint8_t* tables, size_t table_stride,
                     const float* s, float* const* y) {
    size_t block = segment.begin / kBlockRows;
    const size_t end = (segment.end + kBlockRows - 1) / kBlockRows;
    if constexpr (B > 1) {
      for (; block + B <= end; block += B) Rows<P1, P2, B, C>(product, segment, block, tables, table_stride, s, y);
    }
    for (; block < end; ++block) Rows<P1, P2, 1, C>(product, segment, block, tables, table_stride, s, y);
  }

  // B blocks, the segment's P1 + P2 planes in two passes.
  template <int P1, int P2, int B, int C>
  static void Rows(const Product& product, const BcqSegment& segment, size_t block, const uint8_t* tables,
                   size_t table_stride, const float* s, float* const* y) {
    const BcqMatrix& matrix = *product.weight;
    __m512 totals[B][C];
    for (int b = 0; b < B; ++b)
      for (int c = 0; c < C; ++c) totals[b][c] = _mm512_setzero_ps();
    for (size_t group = 0; group < matrix.groups; ++group) {
      AddPlanes<P1, B, C>(matrix, segment, block, 0, group, tables, table_stride, totals);
      if constexpr (P2 > 0) AddPlanes<P2, B, C>(matrix, segment, block, P1, group, tables, table_stride, totals);
    }
    for (int b = 0; b < B; ++b) {
      const size_t row = (block + b) * kBlockRows;
      const __mmask16 inside = Inside(row, segment.begin, segment.end);
      for (int c = 0; c < C; ++c) {
        __m512 value = _mm512_mul_ps(totals[b][c], _mm512_set1_ps(s[c]));
        if (product.bias) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(inside, product.bias + row));
        _mm512_mask_storeu_ps(y[c] + row, inside, value);
      }
    }
  }

  template <int P, int B, int C>
  static void AddPlanes(const BcqMatrix& matrix, const BcqSegment& segment, size_t block, int plane, size_t group,
                        const uint8_t* tables, size_t table_stride, __m512 (*totals)[C]) {
    const size_t first = group * matrix.chunks_per_group;
    const size_t last = std::min(first + matrix.chunks_per_group, matrix.chunks);
    // Sums of even and odd tables apart, for shorter chains of additions, were 0 to 8 % slower.
    const uint32_t* codes[B][P];
    __m512i low[B][P][C], high[B][P][C];
    for (int b = 0; b < B; ++b) {
      for (int p = 0; p < P; ++p) {
        codes[b][p] = matrix.planes[plane + p] + (block + b) * matrix.chunks * kBlockRows;
        for (int c = 0; c < C; ++c) low[b][p][c] = high[b][p][c] = _mm512_setzero_si512();
      }
    }
    const __m512i nibble = _mm512_set1_epi8(0x0f);
    const __m512i position = _mm512_set1_epi32(0x30201000);
    const __m512i ones = _mm512_set1_epi8(1);
    constexpr int kNibbleOrPosition = 0xea;  // (a & b) | c
    for (size_t chunk = first; chunk < last; ++chunk) {
      const uint8_t* table = tables + chunk * kTableBytesPerChunk;
      for (int b = 0; b < B; ++b) {
        for (int p = 0; p < P; ++p) {
          const __m512i words = Load(codes[b][p] + chunk * kBlockRows);
          // Of the next blocks, as in AVX2: Zen 5, base's 13 MB in L3, a token 1.10 times as fast, default model 1.05.
          _mm_prefetch(codes[b][p] + chunk * kBlockRows + B * matrix.chunks * kBlockRows, _MM_HINT_T0);
          const __m512i even = _mm512_ternarylogic_epi32(words, nibble, position, kNibbleOrPosition);
          const __m512i odd =
              _mm512_ternarylogic_epi32(_mm512_srli_epi32(words, 4), nibble, position, kNibbleOrPosition);
          for (int c = 0; c < C; ++c) {
            const uint8_t* t = table + c * table_stride;
            __m512i &l = low[b][p][c], &h = high[b][p][c];
            l = _mm512_dpbusd_epi32(l, _mm512_permutexvar_epi8(even, Load(t)), ones);
            h = _mm512_dpbusd_epi32(h, _mm512_permutexvar_epi8(even, Load(t + 64)), ones);
            l = _mm512_dpbusd_epi32(l, _mm512_permutexvar_epi8(odd, Load(t + 128)), ones);
            h = _mm512_dpbusd_epi32(h, _mm512_permutexvar_epi8(odd, Load(t + 192)), ones);
          }
        }
      }
    }
    const __m512i offset = _mm512_set1_epi32(static_cast<int32_t>((last - first) * kOffsetPerChunk));
    for (int b = 0; b < B; ++b) {
      for (int p = 0; p < P; ++p) {
        const uint16_t* scales = segment.scales + ((plane + p) * matrix.groups + group) * segment.scale_rows +
                                 (block + b) * kBlockRows - segment.scale_begin;
        const __m512 alpha = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(scales)));
        for (int c = 0; c < C; ++c) {
          const __m512i sum =
              _mm512_sub_epi32(_mm512_add_epi32(_mm512_slli_epi32(high[b][p][c], 8), low[b][p][c]), offset);
          totals[b][c] = _mm512_add_ps(totals[b][c], _mm512_mul_ps(alpha, _mm512_cvtepi32_ps(sum)));
        }
      }
    }
  }
};

}  // namespace

void BcqMatmul(const Product* products, size_t num_products, const float* x, size_t x_stride, size_t columns, size_t n,
               void* scratch) {
  TableMatmul<Isa>(products, num_products, x, x_stride, columns, 0, n, scratch);
}

}  // namespace avx512
}  // namespace sub3
