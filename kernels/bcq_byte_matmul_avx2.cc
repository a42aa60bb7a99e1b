// AVX2: the product of bytes of bcq_matmul.h, in 16-bit lanes (vpmaddubsw would need W and xq without signs).
//
// Unpacked weights lie [2 columns each][block][16 rows][2 columns] as int16: a 32-byte load and vpmaddwd serve 8 rows
// and 2 columns.
//
//     unpacking, for each 16 weights and plane    count       multiplying, for each 16 products    count
//     vpand, vpcmpeqw, vpand, vpaddw              4           vpmaddwd, vpaddd                     2

#include <immintrin.h>

#include "kernels/bcq_byte_matmul.h"
#include "kernels/unroll.h"

namespace sub3 {
namespace avx2 {

namespace {

constexpr size_t kColumnsAtOnce = 5;  // 10 accumulators of 16 registers
constexpr size_t kStep = 2 * kByteTileRows;

inline __m256i Load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

struct ByteIsa {
  using Input = int16_t;
  using Weight = int16_t;

  static void RoundScales(const BcqSegment& segment, size_t row, ByteTile* tile) {
    const uint16_t* scales = segment.scales + row - segment.scale_begin;
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    for (size_t r = 0; r < tile->num_blocks * kBlockRows; r += 8) {
      __m256 alpha[kMaxBytePlanes], total = _mm256_setzero_ps();
      for (int i = 0; i < segment.planes; ++i) {
        const void* halves = scales + i * segment.scale_rows + r;
        alpha[i] = _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(halves)));
        total = _mm256_add_ps(total, _mm256_and_ps(alpha[i], magnitude));
      }
      const __m256 some = _mm256_cmp_ps(total, _mm256_setzero_ps(), _CMP_GT_OQ);
      const __m256 inverse = _mm256_and_ps(some, _mm256_div_ps(_mm256_set1_ps(kByteWeights), total));
      _mm256_storeu_ps(tile->rho + r, _mm256_div_ps(total, _mm256_set1_ps(kByteWeights)));
      for (int i = 0; i < segment.planes; ++i) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(tile->a[i] + r),
                            _mm256_cvtps_epi32(_mm256_mul_ps(alpha[i], inverse)));
      }
    }
  }

  static ByteColumn Quantize(const float* x, size_t columns, size_t chunks, int16_t* xq) {
    float maximum = 0;
    for (size_t c = 0; c < columns; ++c) maximum = std::max(maximum, x[c] < 0 ? -x[c] : x[c]);
    const float inverse = maximum < kSmallestMaximum ? 0.0f : kByteInputs / maximum;
    size_t c = 0;
    for (; c + 8 <= columns; c += 8) {
      const __m256i q = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + c), _mm256_set1_ps(inverse)));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(xq + c),
                       _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1)));
    }
    for (; c < columns; ++c) xq[c] = static_cast<int16_t>(_mm_cvtss_si32(_mm_set_ss(x[c] * inverse)));
    std::fill(xq + columns, xq + chunks * kChunkColumns, int16_t{0});
    return {inverse == 0 ? 0.0f : maximum / kByteInputs, 0};
  }

  // W = -sum_i a_i + 2 sum_{i: bit set} a_i.
  static void Unpack(const ByteTile& tile, int16_t* weights) {
    // A code word's lower or upper half, twice: for bits 0-15 and 16-31.
    const __m256i halves[2] = {_mm256_setr_epi8(0, 1, 0, 1, 4, 5, 4, 5, 8, 9, 8, 9, 12, 13, 12, 13,  //
                                                0, 1, 0, 1, 4, 5, 4, 5, 8, 9, 8, 9, 12, 13, 12, 13),
                               _mm256_setr_epi8(2, 3, 2, 3, 6, 7, 6, 7, 10, 11, 10, 11, 14, 15, 14, 15,  //
                                                2, 3, 2, 3, 6, 7, 6, 7, 10, 11, 10, 11, 14, 15, 14, 15)};
    for (size_t eight = 0; eight < 2 * tile.num_blocks; ++eight) {  // rows at a time
      __m256i twice[kMaxBytePlanes], base = _mm256_setzero_si256();
      for (int i = 0; i < tile.num_planes; ++i) {
        const __m256i a = Load(tile.a[i] + 8 * eight);
        base = _mm256_sub_epi32(base, a);
        twice[i] = Twin(_mm256_add_epi32(a, a));
      }
      base = Twin(base);
      int16_t* out = weights + 16 * eight;
      for (size_t chunk = 0; chunk < tile.chunks; ++chunk) {
        const size_t word = (eight / 2 * tile.chunks + chunk) * kBlockRows + 8 * (eight % 2);
        for (const __m256i& half : halves) {
          __m256i bits[kMaxBytePlanes];
          for (int i = 0; i < tile.num_planes; ++i) bits[i] = _mm256_shuffle_epi8(Load(tile.planes[i] + word), half);
          __m256i which = _mm256_set1_epi32(0x00020001);
          for (size_t pair = 0; pair < 8; ++pair, out += kStep) {
            __m256i w = base;
            for (int i = 0; i < tile.num_planes; ++i) {
              const __m256i set = _mm256_cmpeq_epi16(_mm256_and_si256(bits[i], which), which);
              w = _mm256_add_epi16(w, _mm256_and_si256(set, twice[i]));
            }
            _mm256_store_si256(reinterpret_cast<__m256i*>(out), w);
            which = _mm256_slli_epi16(which, 2);
          }
        }
      }
    }
  }

  static void Multiply(const ByteTile& tile, const int16_t* weights, const int16_t* xq, const ByteColumn* s, size_t n,
                       const ByteOutput& output) {
    const size_t width = tile.chunks * kChunkColumns;
    for (size_t block = 0; block < tile.num_blocks; ++block) {
      const int16_t* w = weights + 2 * kBlockRows * block;
      size_t j = 0;
      for (; j + kColumnsAtOnce <= n; j += kColumnsAtOnce) {
        Columns<kColumnsAtOnce>(tile, block, w, xq + j * width, s + j, j, output);
      }
      for (; j < n; ++j) Columns<1>(tile, block, w, xq + j * width, s + j, j, output);
    }
  }

 private:
  // Each int32, which fits 16 bits, twice as an int16.
  static __m256i Twin(__m256i v) {
    return _mm256_or_si256(_mm256_slli_epi32(v, 16), _mm256_and_si256(v, _mm256_set1_epi32(0xffff)));
  }

  template <int C>
  static void Columns(const ByteTile& tile, size_t block, const int16_t* weights, const int16_t* xq,
                      const ByteColumn* s, size_t j, const ByteOutput& output) {
    const size_t width = tile.chunks * kChunkColumns;
    __m256i top_sums[C], bottom_sums[C];
    Unroll<C>([&](auto c) { top_sums[c] = bottom_sums[c] = _mm256_setzero_si256(); });
    for (size_t k = 0; k < width; k += 2, weights += kStep) {
      const __m256i top = Load(weights), bottom = Load(weights + 16);
      Unroll<C>([&](auto c) {
        int32_t two;
        __builtin_memcpy(&two, xq + c * width + k, sizeof two);
        const __m256i input = _mm256_set1_epi32(two);
        top_sums[c] = _mm256_add_epi32(top_sums[c], _mm256_madd_epi16(top, input));
        bottom_sums[c] = _mm256_add_epi32(bottom_sums[c], _mm256_madd_epi16(bottom, input));
      });
    }
    __m256i sums[2][C];
    Unroll<C>([&](auto c) { sums[0][c] = top_sums[c], sums[1][c] = bottom_sums[c]; });
    const size_t row = block * kBlockRows;
    const size_t first = std::max(row, output.first), last = std::min(row + kBlockRows, output.last);
    const float* bias = output.product->bias;
    for (int c = 0; c < C; ++c) {
      alignas(32) float values[kBlockRows];
      for (int half = 0; half < 2; ++half) {
        const __m256 rho = _mm256_loadu_ps(tile.rho + row + 8 * half);
        const __m256 value = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[half][c]), rho);
        _mm256_store_ps(values + 8 * half, _mm256_mul_ps(value, _mm256_set1_ps(s[c].s)));
      }
      float* y = output.At(j + c);
      for (size_t r = first; r < last; ++r) {
        y[r] = bias ? values[r - row] + bias[output.row + r] : values[r - row];
      }
    }
  }
};

}  // namespace

void BcqByteMatmul(const Product* products, size_t num_products, const float* x, size_t x_stride, size_t columns,
                   size_t n, void* scratch) {
  ByteMatmul<ByteIsa>(products, num_products, x, x_stride, columns, n, scratch);
}

}  // namespace avx2
}  // namespace sub3
