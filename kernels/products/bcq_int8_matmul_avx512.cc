// AVX-512 with VBMI and VNNI: the int8 GEMM of bcq_int8_matmul.h.
//
// Unpacked weights lie [4 columns each][block][16 rows][4 columns] as unsigned bytes W + 128, so that one 64-byte load
// and vpdpbusd serve 16 rows and 4 columns; the surplus, 128 * sum(xq), is taken off at the start. Columns j, j + 8,
// j + 16 and j + 24 of a chunk come together: they are bit j of a code word's four bytes, which vptestmb makes a mask.
//
//     unpacking, for each 64 weights      count        multiplying, for each 64 products
//     vptestmb (bits -> mask)             planes       vpdpbusd                       1
//     vpaddb {mask}                       planes       loads: 4 weights, 6 inputs     10 / 24
//
// 24 accumulators (4 blocks x 6 columns) hide the latency; the bound is the ports of vpdpbusd: on Zen 4 one a cycle, 64
// products, on Zen 5 two.

#include <immintrin.h>

#include "kernels/floats/unroll.h"
#include "kernels/products/bcq_int8_tiles.h"

namespace sub3 {
namespace avx512 {

namespace {

constexpr size_t kColumnsAtOnce = 6;
constexpr size_t kStep = 4 * kInt8TileRows;  // bytes of unpacked weights for four columns

inline __m512i Load(const void* p) { return _mm512_loadu_si512(p); }

struct Int8Isa {
  using Input = int8_t;
  using Weight = uint8_t;

  static void RoundScales(const BcqSegment& segment, size_t row, Int8Tile* tile) {
    const uint16_t* scales = segment.scales + row - segment.scale_begin;
    for (size_t r = 0; r < tile->num_blocks * kBlockRows; r += kBlockRows) {
      __m512 alpha[kMaxInt8Planes], total = _mm512_setzero_ps();
      for (int i = 0; i < segment.planes; ++i) {
        const void* halves = scales + i * segment.scale_rows + r;
        alpha[i] = _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(halves)));
        total = _mm512_add_ps(total, _mm512_abs_ps(alpha[i]));
      }
      const __mmask16 some = _mm512_cmp_ps_mask(total, _mm512_setzero_ps(), _CMP_GT_OQ);
      const __m512 inverse = _mm512_maskz_div_ps(some, _mm512_set1_ps(kMaxInt8Weight), total);
      _mm512_storeu_ps(tile->rho + r, _mm512_div_ps(total, _mm512_set1_ps(kMaxInt8Weight)));
      for (int i = 0; i < segment.planes; ++i) {
        _mm512_storeu_si512(tile->a[i] + r, _mm512_cvtps_epi32(_mm512_mul_ps(alpha[i], inverse)));
      }
    }
  }

  static Int8Column Quantize(const float* x, size_t columns, size_t chunks, int8_t* xq) {
    __m512 largest = _mm512_setzero_ps();
    for (size_t c = 0; c < columns; c += 16) {
      largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_maskz_loadu_ps(Tail(columns, c), x + c)));
    }
    const float maximum = _mm512_reduce_max_ps(largest);
    const float inverse = maximum < kSmallestMaximum ? 0.0f : kMaxInt8Input / maximum;
    for (size_t c = 0; c < chunks * kChunkColumns; c += 16) {
      const __m512 values = _mm512_mul_ps(_mm512_maskz_loadu_ps(Tail(columns, c), x + c), _mm512_set1_ps(inverse));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(xq + c), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(values)));
    }
    alignas(32) uint8_t order[kChunkColumns];  // byte i of a chunk is column 8 (i % 4) + i / 4
    for (size_t i = 0; i < kChunkColumns; ++i) order[i] = static_cast<uint8_t>(8 * (i % 4) + i / 4);
    const __m256i columns_together = _mm256_load_si256(reinterpret_cast<const __m256i*>(order));
    for (size_t c = 0; c < chunks * kChunkColumns; c += kChunkColumns) {
      auto* chunk = reinterpret_cast<__m256i*>(xq + c);
      _mm256_storeu_si256(chunk, _mm256_permutexvar_epi8(columns_together, _mm256_loadu_si256(chunk)));
    }
    return {inverse == 0 ? 0.0f : maximum / kMaxInt8Input, Sum(xq, chunks * kChunkColumns)};
  }

  static void Unpack(const Int8Tile& tile, uint8_t* weights) {
    switch (tile.num_planes) {
      case 1:
        return UnpackPlanes<1>(tile, weights);
      case 2:
        return UnpackPlanes<2>(tile, weights);
      case 3:
        return UnpackPlanes<3>(tile, weights);
      case 4:
        return UnpackPlanes<4>(tile, weights);
      case 5:
        return UnpackPlanes<5>(tile, weights);
      default:
        return UnpackPlanes<6>(tile, weights);
    }
  }

  static void Multiply(const Int8Tile& tile, const uint8_t* weights, const int8_t* xq, const Int8Column* s, size_t n,
                       const Int8Output& output) {
    switch (tile.num_blocks) {
      case 1:
        return Blocks<1>(tile, weights, xq, s, n, output);
      case 2:
        return Blocks<2>(tile, weights, xq, s, n, output);
      case 3:
        return Blocks<3>(tile, weights, xq, s, n, output);
      default:
        return Blocks<4>(tile, weights, xq, s, n, output);
    }
  }

 private:
  static __mmask16 Tail(size_t columns, size_t c) {
    return c >= columns ? 0 : columns - c >= 16 ? 0xffff : static_cast<__mmask16>((1u << (columns - c)) - 1);
  }

  // W + 128 = 128 - sum_i a_i + 2 sum_{i: bit set} a_i, in bytes that wrap.
  template <int P>
  static void UnpackPlanes(const Int8Tile& tile, uint8_t* weights) {
    const __m512i spread = _mm512_set1_epi32(0x01010101);
    for (size_t block = 0; block < tile.num_blocks; ++block) {
      __m512i twice[P], base = _mm512_set1_epi32(128);
      const uint32_t* codes[P];
      for (int i = 0; i < P; ++i) {
        const __m512i a = Load(tile.a[i] + block * kBlockRows);
        base = _mm512_sub_epi32(base, a);
        const __m512i low = _mm512_and_si512(_mm512_add_epi32(a, a), _mm512_set1_epi32(255));
        twice[i] = _mm512_mullo_epi32(low, spread);
        codes[i] = tile.planes[i] + block * tile.chunks * kBlockRows;
      }
      base = _mm512_mullo_epi32(_mm512_and_si512(base, _mm512_set1_epi32(255)), spread);
      const size_t next_tile = kInt8TileBlocks * tile.chunks * kBlockRows;  // prefetched: 3 % of an encoder of base
      uint8_t* out = weights + 64 * block;
      for (size_t chunk = 0; chunk < tile.chunks; ++chunk) {
        __m512i words[P];
        for (int i = 0; i < P; ++i) {
          words[i] = Load(codes[i] + chunk * kBlockRows);
          _mm_prefetch(codes[i] + chunk * kBlockRows + next_tile, _MM_HINT_T1);
        }
        for (int bit = 0; bit < 8; ++bit, out += kStep) {
          const __m512i which = _mm512_set1_epi8(static_cast<char>(1 << bit));
          __m512i w = base;
          for (int i = 0; i < P; ++i) {
            w = _mm512_mask_add_epi8(w, _mm512_test_epi8_mask(words[i], which), w, twice[i]);
          }
          _mm512_store_si512(out, w);
        }
      }
    }
  }

  template <int B>
  static void Blocks(const Int8Tile& tile, const uint8_t* weights, const int8_t* xq, const Int8Column* s, size_t n,
                     const Int8Output& output) {
    const size_t width = tile.chunks * kChunkColumns;
    size_t j = 0;
    for (; j + kColumnsAtOnce <= n; j += kColumnsAtOnce) {
      Columns<B, kColumnsAtOnce>(tile, weights, xq + j * width, s + j, j, output);
    }
    switch (n - j) {
      case 1:
        return Columns<B, 1>(tile, weights, xq + j * width, s + j, j, output);
      case 2:
        return Columns<B, 2>(tile, weights, xq + j * width, s + j, j, output);
      case 3:
        return Columns<B, 3>(tile, weights, xq + j * width, s + j, j, output);
      case 4:
        return Columns<B, 4>(tile, weights, xq + j * width, s + j, j, output);
      case 5:
        return Columns<B, 5>(tile, weights, xq + j * width, s + j, j, output);
      default:
        return;
    }
  }

  template <int B, int C>
  static void Columns(const Int8Tile& tile, const uint8_t* weights, const int8_t* xq, const Int8Column* s, size_t j,
                      const Int8Output& output) {
    const size_t width = tile.chunks * kChunkColumns;
    __m512i sums[B * C];
    Unroll<B * C>([&](auto i) { sums[i] = _mm512_set1_epi32(-128 * s[i / B].sum); });
    for (size_t k = 0; k < width; k += 4, weights += kStep) {
      __m512i w[B];
      Unroll<B>([&](auto b) { w[b] = Load(weights + 64 * b); });
      // One input at a time: loaded all at once they sent two accumulators to memory, 1.09 times as long.
      Unroll<C>([&](auto c) {
        int32_t four;
        __builtin_memcpy(&four, xq + c * width + k, sizeof four);
        const __m512i input = _mm512_set1_epi32(four);
        Unroll<B>([&](auto b) { sums[c * B + b] = _mm512_dpbusd_epi32(sums[c * B + b], w[b], input); });
      });
    }
    __m512i totals[B][C];
    Unroll<B * C>([&](auto i) { totals[i % B][i / B] = sums[i]; });
    for (int b = 0; b < B; ++b) {
      const size_t row = b * kBlockRows;
      __mmask16 inside = 0xffff;
      if (row < output.first) inside &= static_cast<__mmask16>(0xffffu << std::min<size_t>(output.first - row, 16));
      if (row + kBlockRows > output.last) inside &= static_cast<__mmask16>((1u << (output.last - row)) - 1);
      const __m512 rho = _mm512_loadu_ps(tile.rho + row);
      const float* bias = output.product->bias;
      for (int c = 0; c < C; ++c) {
        __m512 value = _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(totals[b][c]), rho), _mm512_set1_ps(s[c].s));
        if (bias) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(inside, bias + output.row + row));
        _mm512_mask_storeu_ps(output.At(j + c) + row, inside, value);
      }
    }
  }

  static int32_t Sum(const int8_t* xq, size_t width) {
    __m512i sum = _mm512_setzero_si512();  // vpdpbusd's first factor is unsigned: ones
    size_t k = 0;
    for (; k + 64 <= width; k += 64) sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), Load(xq + k));
    if (k < width) {
      sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), _mm512_maskz_loadu_epi8(0xffffffff, xq + k));
    }
    return _mm512_reduce_add_epi32(sum);
  }
};

}  // namespace

void BcqInt8Matmul(const Product* products, size_t num_products, const float* x, size_t x_stride, size_t columns,
                   size_t n, void* scratch) {
  Int8Matmul<Int8Isa>(products, num_products, 1, x, x_stride, columns, 0, n, scratch);
}

}  // namespace avx512
}  // namespace sub3
